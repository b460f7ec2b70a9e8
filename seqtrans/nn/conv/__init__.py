"""Blocks of convolutional networks."""
