"""Readers of labeled images: idx, CIFAR, folders, NumPy files."""
