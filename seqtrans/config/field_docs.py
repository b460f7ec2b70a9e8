"""Descriptions of dataclass fields, read from the source, for editors that complete recipes."""

import ast
import inspect
import textwrap
from functools import cache


@cache
def notes_of(cls: type[object]) -> dict[str, str]:
    """Return descriptions of fields by name, inherited ones too; empty if there is no source.

    A field is described in the ``Args`` or ``Attributes`` of the class, by a string below it or
    by a comment beside it.
    """
    notes: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        notes |= _in_docstring(base.__doc__ or "") | _in_source(base)
    return notes


def _in_docstring(docstring: str) -> dict[str, str]:
    notes: dict[str, str] = {}
    name = ""
    for line in docstring.splitlines():
        words = line.strip()
        head, colon, rest = words.partition(":")
        if colon and head.isidentifier() and head.islower():
            name, notes[head] = head, rest.strip()
        elif words and name:
            notes[name] += " " + words
        else:
            name = ""
    return notes


def _in_source(cls: type[object]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    statements = definition.body if isinstance(definition, ast.ClassDef) else []
    notes: dict[str, str] = {}
    for statement, below in zip(statements, [*statements[1:], ast.Pass()], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name = statement.target.id
        _, _, comment = lines[(statement.end_lineno or 1) - 1].partition("  # ")
        if comment:
            notes[name] = comment.strip()
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            notes[name] = inspect.cleandoc(str(below.value.value)).replace("\n", " ")
    return notes
