"""Formats of files of sentence pairs: settings and reader, one module for each.

- ``base``: CorpusFiles, at_least_one
- ``jsonl``: JsonLinesFile
- ``text``: TextFiles, NamedLines, align
- ``tmx``: TmxFile
- ``tsv``: TsvFile
"""
