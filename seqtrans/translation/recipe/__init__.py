"""Keys of a translation recipe, and how its parts are built.

- ``build``: build_model
- ``load_run``: Run, load_run
- ``make_lexicon``: make_lexicon
- ``prepare``: prepare, rehearse
- ``run_corpora``: RunCorpora
- ``schema``: TranslationRecipe
- ``tune``: BEAM_SIZES, LENGTH_PENALTIES, Choices, Trial, Tuner

Used within: ``auto_batch_size``, ``build_task``, ``init_from``, ``load_data``,
``pretrained_embeddings``, ``provenance``.
"""
