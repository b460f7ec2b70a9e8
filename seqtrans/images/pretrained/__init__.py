"""Weights of others for image models.

- ``keras_weights``: KERAS_SUFFIXES, load_keras_file
- ``load``: load_pretrained, weights_for, class_names, timm_input
- ``zoo``: NetworkConfig, build_network

Used within: ``weight_names``.
"""
