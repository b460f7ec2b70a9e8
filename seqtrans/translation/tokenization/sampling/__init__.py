"""Sample segmentations of subwords at random, for training.

- ``bpe_dropout``: BpeDropoutSampler
- ``model_file``: SPACE, SubwordModel, read_subword_model, message
- ``unigram``: UnigramSampler, NBestSampler

Used within: ``words``.
"""
