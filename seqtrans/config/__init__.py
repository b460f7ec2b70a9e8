"""Recipes: strict YAML to frozen dataclasses and back.

A recipe is read into plain values (``document``), checked against a tree of stdlib dataclasses
(``validation``, the only user of pydantic), and every mistake in it is reported at once, one line
each, with the file, the line and the nearest valid key.
"""

from seqtrans.config.key_reference import described
from seqtrans.config.overrides import override
from seqtrans.config.pydantic_schema import json_schema
from seqtrans.config.validation import load, loads, validate
from seqtrans.config.yaml_document import Document, dump, parse, read
from seqtrans.config.yaml_nodes import PathKey

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
