"""Formats of files of sentence pairs: one file each, which has its settings and its reader."""
