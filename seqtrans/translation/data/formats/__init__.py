"""Formats of files of sentence pairs: one file each, which has its settings and its reader.

- ``base``: CorpusFiles, at_least_one
- ``text``: TextFiles, NamedLines, align
- ``tsv``: TsvFile
"""
