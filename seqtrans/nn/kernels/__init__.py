"""Code that is there for speed alone: each equals plain torch, and a parity test says so.

- ``additive_scores``: exponential, tanh_scores
- ``conv_stride_guard``: guard_strides, GuardedStrides
- ``consistency``: linear_consistency, divergences, ConsistencyTerms
- ``cross_entropy``: linear_cross_entropy
- ``linear``: Linear, linear
- ``linear_scan``: linear_scan
- ``log_softmax``: log_probabilities
- ``soft_cap``: soft_capped, soft_cap_slope
- ``token_cache``: TokenRows
"""
