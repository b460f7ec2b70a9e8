"""Translation, an application of ``training``: text, models, search and metrics.

- ``bulk/``: translation of many files, by many processes
- ``data/``: text to batches of token ids
- ``evaluation/``: metrics of translations
- ``inference/``: translating and scoring text with a trained model
- ``models/``: translation models
- ``protocols``: Ids, SourceBatch, DecoderState, Seq2SeqModel, Hypothesis, SearchInput, Searcher,
  Specials, Segmenter
- ``recipe/``: keys of a translation recipe, and how its parts are built
- ``search/``: beam search and sampling
- ``task``: CorpusScorer, Validation, TranslationTask
- ``tokenization/``: text to token ids and back
"""
