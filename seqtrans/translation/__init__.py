"""Translation, an application of ``training``: text, models, search and scores.

- ``bulk/``: translation of many files, by many processes
- ``data/``: text to batches of token ids
- ``evaluation/``: scores of translated text
- ``inference/``: translating and scoring text with a trained model
- ``models/``: translation models
- ``protocols``: Ids, SourceBatch, DecoderState, Seq2SeqModel, Hypothesis, SearchInput, Searcher,
  Specials, Segmenter
- ``recipe/``: what a recipe of translation may say, and how its parts are put together
- ``search/``: searching for the best output of any ``Seq2SeqModel``
- ``task``: CorpusScorer, Validation, TranslationTask
- ``tokenization/``: text to token ids and back
"""
