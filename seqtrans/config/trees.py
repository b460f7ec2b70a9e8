"""Trees of dataclasses: write them as YAML, flatten them, find the paths in them."""

import dataclasses
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from seqtrans.config.yaml_reader import CORE, PathKey

T = TypeVar("T")
_OLDER = yaml.resolver.Resolver()  # YAML 1.1, in which ``no``, ``12:30`` and dates are not text


class _Dumper(yaml.SafeDumper):
    """Quotes text that ``Loader``, or a reader of YAML 1.1, would read as another type."""

    yaml_implicit_resolvers = CORE  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """Escape characters that other styles would fold or lose, such as U+0085 and U+2028."""
        older = _OLDER.resolve(yaml.ScalarNode, data, (True, False))
        is_text = older.endswith(":str") and data not in ("y", "Y", "n", "N")
        style = '"' if not data.isprintable() else None if is_text else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def dump(value: object) -> str:
    """Write a dataclass as YAML with every default written out; ``load`` reads it back."""
    return yaml.dump(
        plain(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000
    )


def flow(value: Hashable | dict[str, Any] | list[Any]) -> str:
    """Return plain values as YAML in one line."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def plain(value: object) -> Hashable | dict[str, Any] | list[Any]:
    """Convert recursively: dataclasses to mappings, tuples to lists, paths to text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # ``kind`` comes first, before inherited fields, because it says how to read the others.
        fields = sorted(dataclasses.fields(value), key=lambda field: field.name != "kind")
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, tuple | list):
        return [plain(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in cast("dict[object, object]", value).items()}
    return str(value) if isinstance(value, Path) else cast("Hashable", value)


def flatten(value: object, key: str = "") -> dict[str, str]:
    """Return the values of dataclasses, mappings and lists as text, by dotted key."""
    return dict(_flat(plain(value), key))


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inside in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _flat(inside, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, list) and value:
        for number, inside in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from _flat(inside, f"{key}.{number}")
    else:
        yield key, flow(value)


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
