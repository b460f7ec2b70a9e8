"""Find and resolve the paths in a recipe, or in any other tree of dataclasses."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from seqtrans.config.yaml_nodes import PathKey

T = TypeVar("T")


def paths_in(value: Any, key: PathKey = ()) -> Iterator[tuple[PathKey, Path]]:
    """Yield every path in a tree of dataclasses, with the keys that lead to it."""
    if isinstance(value, Path):
        yield key, value
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from paths_in(getattr(value, item.name), (*key, item.name))
    elif isinstance(value, tuple):
        for i, item in enumerate(cast("tuple[Any, ...]", value)):
            yield from paths_in(item, (*key, i))


def named_paths(recipe: object) -> dict[PathKey, Path]:
    """Return the files and folders that a recipe names, by their keys, without the cache."""
    return {key: file for key, file in paths_in(recipe) if key[-1] != "cache"}


def missing_paths(recipe: object) -> dict[PathKey, Path]:
    """Return those of ``named_paths`` that do not exist.

    Raises:
        UnicodeEncodeError: The locale can't name one.
    """
    return {
        key: file
        for key, file in named_paths(recipe).items()
        if not os.path.exists(os.fsencode(file))  # noqa: PTH110 - too long is no error
    }


def dotted(key: PathKey) -> str:
    """Return a key as ``--set`` takes it: ``data.train.0.source``."""
    return ".".join(map(str, key))


def with_absolute_paths(value: T, base: Callable[[PathKey], Path], key: PathKey = ()) -> T:
    """Return a tree of dataclasses with its relative paths resolved against ``base(key)``."""
    changed: Any = value
    if isinstance(value, Path):
        home = os.path.expanduser(value)  # noqa: PTH111 - no error where there is no such user
        changed = Path(os.path.abspath(base(key) / home))  # noqa: PTH100 - keeps links
    elif isinstance(value, tuple):
        items = enumerate(cast("tuple[Any, ...]", value))
        changed = tuple(with_absolute_paths(item, base, (*key, i)) for i, item in items)
    elif dataclasses.is_dataclass(value):
        parts = {
            f.name: with_absolute_paths(getattr(value, f.name), base, (*key, f.name))
            for f in dataclasses.fields(value)
            if f.init
        }
        changed = dataclasses.replace(cast("Any", value), **parts)
    return changed
