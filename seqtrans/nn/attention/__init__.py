"""Attention: of Transformers, and of recurrent decoders.

- ``coverage``: CoverageAttention, CountCoverageAttention, CoverageUpdate
- ``kv_cache``: KeyValue, KVCache
- ``multi_head``: SelfAttention, CrossAttention
- ``recurrent``: ProjectedMemory, Attention, DotAttention, GeneralAttention,
  AdditiveAttention, MultiHeadDotAttention, attention_weights
- ``unscored``: LocationAttention, LastStateAttention
"""
