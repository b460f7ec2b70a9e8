"""Text to token ids and back.

- ``config``: SubwordConfig, ExistingSubwordConfig
- ``sampling/``: sampling of segmentations at random, for training
- ``segmenters``: SegmentationConfig, Segmenters, train_segmenters, load_segmenters, sampling_of,
  fingerprint
- ``text_changes``: find_changes
- ``words_and_characters``: WordsConfig, CharactersConfig

Used within: ``sentencepiece_segmenter``, ``vocabulary``.
"""
