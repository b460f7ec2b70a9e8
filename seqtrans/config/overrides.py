"""Command-line settings (``--set``) that override values of a document."""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from seqtrans.config.yaml_reader import OPTION, Document, PathKey, parse
from seqtrans.errors import RecipeError


def override(document: Document, settings: Sequence[str]) -> Document:
    """Replace values by ``key.path=value``, where the value is YAML and lists count from 0.

    A setting that has no ``=``, or whose path leads through a value without keys, is added to the
    ``mistakes`` of the returned document.
    """
    for setting in settings:
        try:
            document = _override_one(document, setting)
        except RecipeError as error:
            document = dataclasses.replace(document, mistakes=(*document.mistakes, str(error)))
    return document


def _override_one(document: Document, setting: str) -> Document:
    dotted, equals, text = setting.partition("=")
    name = f"{OPTION}{dotted}"
    if not equals or not all(dotted.split(".")):
        raise RecipeError(f"{name}: write --set KEY=VALUE, such as --set training.seed=2")
    given = parse(text if text.strip() else "~", name)
    path: PathKey = tuple(int(k) if k.isdecimal() else k for k in dotted.split("."))
    changed = _replace(document.value, path, given.value, name)
    kept = {p: place for p, place in document.places.items() if p[: len(path)] != path}
    new = {path[:i]: name for i in range(1, len(path) + 1)}
    mistakes = (*document.mistakes, *given.mistakes)
    return Document(changed, {**new, **kept, path: name}, mistakes)


def _replace(tree: Any, path: PathKey, value: Any, name: str) -> Any:
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(tree, list) and isinstance(key, int):
        items = cast("list[Any]", tree)
        if key >= len(items):
            raise RecipeError(f"{name}: the list ends at {len(items) - 1}")
        return [_replace(v, rest, value, name) if i == key else v for i, v in enumerate(items)]
    if tree is None or isinstance(tree, dict):
        mapping = cast("dict[str, Any]", tree or {})
        return {**mapping, str(key): _replace(mapping.get(str(key)), rest, value, name)}
    raise RecipeError(f"{name}: there is no '{key}' in {tree!r}")
