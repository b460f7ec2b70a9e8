"""Readers of labelled images: idx, CIFAR, folders, NumPy files."""
