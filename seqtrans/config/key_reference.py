"""Reference of all recipe keys: allowed values, default and meaning."""

import dataclasses
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from seqtrans.config.field_docs import notes_of
from seqtrans.config.pydantic_schema import bare, default_of, fields_of, options_of, tags_of
from seqtrans.config.trees import flow, plain
from seqtrans.config.validation import expected
from seqtrans.errors import RecipeError, suggestion

WIDTH = 100


class Key(NamedTuple):
    """One key of a mapping."""

    name: str
    default: str  # as YAML; empty where the key must be given
    values: str  # allowed values, in words
    meaning: str


class Section(NamedTuple):
    """One mapping of a recipe."""

    path: str  # dotted; ``[]`` stands for the items of a list; empty: the recipe itself
    choice: str  # the tag that selects it in a union: ``kind: adam``
    keys: tuple[Key, ...]


def sections(cls: type[object], path: str = "", choice: str = "") -> Iterator[Section]:
    """Yield the section of ``cls`` itself, then one for every mapping nested in it."""
    hints, notes = fields_of(cls), notes_of(cls)
    fields = [f for f in dataclasses.fields(cast("Any", cls)) if f.init]
    tag = choice.partition(":")[0]
    keys = (
        Key(f.name, _default(f), _values(hints[f.name]), notes.get(f.name, ""))
        for f in fields
        if f.name != tag
    )
    yield Section(path, choice, tuple(keys))
    for field in fields:
        inside, items = _items(hints[field.name])
        name = f"{path}.{field.name}{items}".removeprefix(".")
        tag, tagged = tags_of(inside)
        classes = {c: f"{tag}: {value}" for value, c in tagged.items()} or dict.fromkeys(
            (cast("type[object]", o) for o in options_of(inside) if dataclasses.is_dataclass(o)), ""
        )
        for member, chosen in classes.items():
            yield from sections(member, name, chosen)


def described(cls: type[object], key: str = "") -> str:
    """Return a readable list of all keys of a ``cls`` file, or of those under one key.

    Raises:
        RecipeError: There is no such key.
    """
    blocks, known = list[str](), dict[str, None]()
    printed: dict[tuple[Key, ...], str] = {}  # the same keys can occur in several sections
    for section in sections(cls):
        path = section.path.replace("[]", "")
        names = {k: f"{path}.{k.name}".removeprefix(".") for k in section.keys}
        known |= dict.fromkeys(names.values())
        is_inside = f"{path}.".startswith(f"{key}.") or not key
        keys = tuple(k for k in section.keys if is_inside or names[k] == key)
        if keys:
            entries = [f"  as {printed[keys]}"] if keys in printed else map(_entry, keys)
            blocks.append("\n".join((_title(section), *entries)))
            printed.setdefault(keys, _title(section))
    if not blocks:
        raise RecipeError(f"a recipe has no key '{key}'{suggestion(key, known)}")
    return "\n\n".join(blocks) + "\n"


def _title(section: Section) -> str:
    return (section.path or "the recipe") + (f", {section.choice}" if section.choice else "")


def _entry(key: Key) -> str:
    head = f"  {key.name}: {key.default or '(must be given)'}"
    about = f"{key.values[:1].upper()}{key.values[1:]}. {_as_yaml(key.meaning)}".rstrip()
    indent = " " * 6
    return f"{head}\n" + textwrap.fill(
        about, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _as_yaml(meaning: str) -> str:
    """Rewrite a Python description for YAML: None as null, double backquotes as quotes."""
    return re.sub(r"\bNone\b", "null", meaning).replace("``", "'")


def _items(hint: Any) -> tuple[Any, str]:
    """Return a list's item type and ``[]``; any other type unchanged and an empty string."""
    if typing.get_origin(bare(hint)) is tuple:
        return typing.get_args(bare(hint))[0], "[]"
    return hint, ""


def _values(hint: Any) -> str:
    tag, tagged = tags_of(hint)
    kinds = f" with {tag} {', '.join(tagged)}" if tagged else ""
    return expected(hint) + kinds


def _default(field: dataclasses.Field[Any]) -> str:
    default = default_of(field)
    if default is dataclasses.MISSING:
        return ""
    return flow(_brief(default))


def _brief(value: Any) -> Any:
    """Return a value as a recipe would write it, without keys that have their default."""
    if not dataclasses.is_dataclass(value):
        return plain(value)
    return {
        field.name: _brief(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.name == "kind" or getattr(value, field.name) != default_of(field)
    }
