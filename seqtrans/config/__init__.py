"""Recipes: strict YAML to frozen dataclasses and back.

A recipe is read into plain values (``document``), checked against a tree of stdlib dataclasses
(``validation``, the only user of pydantic), and every mistake in it is reported at once, one line
each, with the file, the line and the nearest valid key.
"""

from seqtrans.config.document import Document, dump, parse, read
from seqtrans.config.keys import described
from seqtrans.config.nodes import PathKey
from seqtrans.config.overriding import override
from seqtrans.config.schema import json_schema
from seqtrans.config.validation import load, loads, validate

__all__ = [
    "Document",
    "PathKey",
    "described",
    "dump",
    "json_schema",
    "load",
    "loads",
    "override",
    "parse",
    "read",
    "validate",
]
