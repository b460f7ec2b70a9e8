"""Convolutional blocks and pooling.

- ``convolution``: Pool, Convolution, PlainBlock, ResidualBlock, pool
- ``gated``: GatedConvolution
- ``inception``: NormalizedConv, Layer, Mixed
- ``inverted_residual``: SamePaddedConv, DepthwiseSeparable, InvertedResidual, batch_norm
- ``pooling``: regional_means
- ``residual``: BasicBlock, Bottleneck, start_as_shortcuts
"""
