"""Formats of files of sentence pairs: one file each, which has its settings and its reader.

- ``base``: CorpusFiles, at_least_one
- ``jsonl``: JsonLinesFile
- ``text``: TextFiles, NamedLines, align
- ``tmx``: TmxFile
- ``tsv``: TsvFile
"""
