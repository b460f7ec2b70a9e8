"""What a recipe of an image classifier may say, and how its parts are put together.

- ``build``: Classifier, load_classifier, known_facts, build_untrained, builder_files
- ``load_data``: read_like
- ``prepare``: prepare
- ``schema``: FractionConfig, ClassificationRecipe

Used within: ``auto_batch_size``, ``init_from``, ``provenance``.
"""
