"""Formats of files of sentence pairs: settings and reader, one module for each.

- ``base``: CorpusFiles, at_least_one
- ``generated``: GeneratedPairs
- ``jsonl``: JsonLinesFile
- ``text``: TextFiles, NamedLines, align
- ``tmx``: TmxFile
- ``tsv``: TsvFile
"""
