"""Attention: of Transformers, and of recurrent decoders.

- ``coverage``: CoverageAttention
- ``multi_head``: KeyValue, KVCache, SelfAttention, CrossAttention
- ``recurrent``: ProjectedMemory, Attention, DotAttention, GeneralAttention,
  AdditiveAttention, MultiHeadDotAttention, attention_weights
"""
