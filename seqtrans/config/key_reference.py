"""Every key that a recipe may have: what it may be, its default, and what it means."""

import dataclasses
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from seqtrans.config.field_docs import notes_of
from seqtrans.config.pydantic_schema import bare, default_of, fields_of, options_of, tags_of
from seqtrans.config.validation import expected
from seqtrans.config.yaml_document import flow, plain
from seqtrans.errors import RecipeError, suggestion

WIDTH = 100


class Key(NamedTuple):
    """One key of a mapping."""

    name: str
    default: str  # as YAML; empty where the key must be given
    values: str  # what it may be, in words
    meaning: str


class Section(NamedTuple):
    """One mapping of a recipe."""

    path: str  # dotted; ``[]`` stands for the items of a list; empty: the recipe itself
    choice: str  # what tells it apart from other mappings in its place: ``kind: adam``
    keys: tuple[Key, ...]


def sections(cls: type[object], path: str = "", choice: str = "") -> Iterator[Section]:
    """A ``cls`` and, after it, every mapping inside of it."""
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
    """All keys of the files that describe a ``cls``, for people; or those under one key.

    Raises:
        RecipeError: There is no such key.
    """
    found, known = list[str](), dict[str, None]()
    told: dict[tuple[Key, ...], str] = {}  # keys that stand in several places
    for section in sections(cls):
        path = section.path.replace("[]", "")
        names = {k: f"{path}.{k.name}".removeprefix(".") for k in section.keys}
        known |= dict.fromkeys(names.values())
        is_inside = f"{path}.".startswith(f"{key}.") or not key
        keys = tuple(k for k in section.keys if is_inside or names[k] == key)
        if keys:
            entries = [f"  as {told[keys]}"] if keys in told else map(_entry, keys)
            found.append("\n".join((_title(section), *entries)))
            told.setdefault(keys, _title(section))
    if not found:
        raise RecipeError(f"a recipe has no key '{key}'{suggestion(key, known)}")
    return "\n\n".join(found) + "\n"


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
    """Words of the source in those of a recipe."""
    return re.sub(r"\bNone\b", "null", meaning).replace("``", "'")


def _items(hint: Any) -> tuple[Any, str]:
    """The type of what a list holds and ``[]``; any other type as it is."""
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
    """A value as a recipe would write it, without what is so by default."""
    if not dataclasses.is_dataclass(value):
        return plain(value)
    return {
        field.name: _brief(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.name == "kind" or getattr(value, field.name) != default_of(field)
    }
