"""Segmentations of subwords drawn at random, for training."""
