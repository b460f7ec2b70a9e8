"""What a recipe of translation may say, and how its parts are put together.

- ``build``: build_model
- ``load_run``: Run, load_run
- ``prepare``: prepare, rehearse
- ``schema``: TranslationRecipe

Used within: ``auto_batch_size``, ``build_task``, ``init_from``, ``load_data``, ``provenance``.
"""
