"""Recipes: strict YAML to frozen dataclasses and back.

A recipe is read into plain values (``yaml_reader``) and checked against a tree of stdlib
dataclasses (``validation``). All mistakes are reported at once, one line each, with the file, the
line and the nearest valid key. Only ``pydantic_schema`` imports pydantic. Besides what is imported
here, others use:

- ``field_docs``: notes_of
- ``trees``: flatten, flow, paths_in, named_paths, missing_paths, dotted, with_absolute_paths
- ``types``: Positive, Probability, Size
- ``validation``: shown
"""

from seqtrans.config.key_reference import described
from seqtrans.config.overrides import override
from seqtrans.config.pydantic_schema import json_schema
from seqtrans.config.trees import dump
from seqtrans.config.validation import load, loads, validate
from seqtrans.config.yaml_reader import Document, PathKey, parse, read

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
