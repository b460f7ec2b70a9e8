"""Read sentence pairs from files of any format.

A new format is a module in ``formats`` and a member of ``CorpusFormat``.
"""

from collections.abc import Iterator
from typing import Annotated, Any, TypeAlias

from seqtrans.config.types import Untagged
from seqtrans.translation.data.formats.base import CorpusFiles, at_least_one
from seqtrans.translation.data.formats.generated import GeneratedPairs
from seqtrans.translation.data.formats.jsonl import JsonLinesFile
from seqtrans.translation.data.formats.text import TextFiles
from seqtrans.translation.data.formats.tmx import TmxFile
from seqtrans.translation.data.formats.tsv import TsvFile


def _with_kind(files: dict[str, Any]) -> dict[str, Any]:
    """Add the kind to the keys of a corpus in a recipe.

    Recipes that runs stored before there were kinds have the keys of both kinds.
    """
    given = {key: value for key, value in files.items() if value is not None}
    if "tsv" in given:
        return {"kind": "tsv", **given}
    defaults = {"source_column": 1, "target_column": 2}
    return {"kind": "text", **{k: v for k, v in given.items() if defaults.get(k) != v}}


CorpusFormat: TypeAlias = Annotated[
    TextFiles
    | TsvFile
    | JsonLinesFile
    | TmxFile
    | GeneratedPairs,
    Untagged(_with_kind),
]  # fmt: skip
"""A corpus in a recipe, by ``kind``."""


def read_pairs(*corpora: CorpusFiles) -> Iterator[tuple[str, str]]:
    """Yield source and target sentences of one corpus after the other, in file order.

    Raises:
        DataError: A file can't be read, has another format or no lines; two files have different
            numbers of lines; or a record lacks a side.
    """
    for files in corpora:
        yield from at_least_one(files.pairs(), files.names[0])
