"""Turn a recipe file into a dataclass, or report every mistake in it, one line each."""

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import annotated_types

from seqtrans.config.overrides import override
from seqtrans.config.pydantic_schema import (
    MAPPING,
    SCALAR,
    Mistake,
    bare,
    check,
    fields_of,
    options_of,
    tags_of,
)
from seqtrans.config.yaml_reader import Document, PathKey, parse, read
from seqtrans.errors import RecipeError, suggestion

T = TypeVar("T")


def load(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Build a ``cls`` from a YAML file, after ``overrides`` such as ``training.seed=2``.

    Raises:
        RecipeError: The file can't be read, or is no valid ``cls``; the message has one line for
            each mistake.
    """
    return validate(cls, override(read(path), overrides))


def loads(cls: type[T], text: str, name: str, overrides: Sequence[str] = ()) -> T:
    """Build a ``cls`` from YAML ``text``; see ``load``. ``name`` stands for the file."""
    return validate(cls, override(parse(text, name), overrides))


def validate(cls: type[T], document: Document) -> T:
    """Build a ``cls`` from a document; see ``load``."""
    result = check(cls, document.value)
    if not isinstance(result, list):
        if not document.mistakes:
            return result
        result = []
    messages = (_explain(cls, mistake, document) for mistake in result)
    lines = dict.fromkeys((*document.mistakes, *messages))
    raise RecipeError("\n".join(sorted(lines, key=_line_number)))


def _line_number(message: str) -> tuple[bool, int]:
    place = message.partition(": ")[0]
    number = place.rpartition(":")[2]
    return not number.isdecimal(), int(number) if number.isdecimal() else 0


class _Place(typing.NamedTuple):
    """Where in a recipe a mistake is, and what was expected there."""

    path: PathKey
    hint: Any  # the type of the value at ``path``
    owner: Any  # the type of the mapping or list around it
    value: Any  # the value in the recipe


def _explain(cls: type[object], mistake: Mistake, document: Document) -> str:
    place = _locate(cls, mistake.location, document.value)
    where, name = document.place(place.path), _dotted(place.path)
    parent = _dotted(place.path[:-1])
    match mistake.reason:
        case "extra_forbidden":
            key = str(place.path[-1])
            return f"{where}: {parent} has no key '{key}'{_nearest_key(key, place.owner)}"
        case "missing" if isinstance(place.path[-1], str):
            return f"{where}: {parent} lacks the key '{place.path[-1]}'"
        case "missing" | "too_long" if not isinstance(place.path[-1], str):
            value = _lookup(document.value, place.path[:-1])
            return f"{where}: {parent} must be {expected(place.owner)}, not {shown(value)}"
        case "union_tag_not_found" | "union_tag_invalid":
            return f"{where}: {_wrong_kind(name, place)}"
        case "value_error" | "assertion_error":
            return _contradiction(place.path, mistake.message.split(), document)
        case _:
            near = _nearest(place.value, _choices(place.hint)) or _rewritten(place)
            return f"{where}: {name} must be {expected(place.hint)}, not {shown(place.value)}{near}"


def _rewritten(place: _Place) -> str:
    """Suggest how to write a value that YAML has read as another type; empty if unlikely."""
    types, value = {bare(option) for option in options_of(place.hint)}, place.value
    if isinstance(value, int | float) and types & {str, Path}:
        return "; quote it to make it text"
    if isinstance(value, float) and int in types and value.is_integer():
        return f"; write {int(value)}"
    if isinstance(value, str) and types & {int, float} and "_" in value:
        return "; write numbers without _"
    return ""


def _contradiction(path: PathKey, words: Sequence[str], document: Document) -> str:
    """Return the message of a ``__post_init__``, with the line of the key it begins with."""
    where = document.place((*path, *"".join(words[:1]).split(".")))
    name = f"{_dotted(path)}: " if path else ""  # at the top level the message has the full key
    return f"{where}: {name}{' '.join(words)}"


def _locate(cls: type[object], location: PathKey, tree: Any) -> _Place:
    """Follow pydantic's location, which also names the member of a union that was tried."""
    path: PathKey = ()
    hint: Any = cls
    owner: Any = cls
    for part in location:
        _, classes = tags_of(hint)
        if part in (MAPPING, SCALAR):
            continue
        if isinstance(part, str) and part in classes:
            hint = classes[part]
            continue
        inside = _inside(hint, part)
        if inside is None:
            break  # a member of a union of plain types
        path, owner, hint = (*path, part), hint, inside
    return _Place(path, hint, owner, _lookup(tree, path))


def _inside(hint: Any, part: str | int) -> Any:
    """Return the type of a field or list item; ``object`` for an unknown key."""
    for option in options_of(hint):
        if dataclasses.is_dataclass(option) and isinstance(part, str):
            return fields_of(cast("type[object]", option)).get(part, object)
        if typing.get_origin(bare(option)) is tuple and isinstance(part, int):
            items = typing.get_args(bare(option))
            return items[0] if items[-1] is ... else items[min(part, len(items) - 1)]
        if typing.get_origin(bare(option)) is Mapping:
            return typing.get_args(bare(option))[1]
    return None


def _lookup(tree: Any, path: PathKey) -> Any:
    for key in path:
        try:
            tree = tree[key]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _wrong_kind(name: str, place: _Place) -> str:
    tag, classes = tags_of(place.hint)
    choices = _join(repr(c) for c in classes)
    if tag not in place.value:
        return f"{name} lacks the key '{tag}': {choices}"
    value = place.value[tag]
    return f"{name}.{tag} must be {choices}, not {shown(value)}{_nearest(value, list(classes))}"


def _nearest_key(key: str, owner: Any) -> str:
    names = [n for o in options_of(owner) if dataclasses.is_dataclass(o) for n in fields_of(o)]  # pyright: ignore[reportArgumentType]
    return _nearest(key, names) or f"; it has {', '.join(names)}"


def _nearest(value: Any, names: Sequence[str]) -> str:
    return suggestion(value, names) if isinstance(value, str) else ""


def _choices(hint: Any) -> list[str]:
    literals = [o for o in options_of(hint) if typing.get_origin(o) is Literal]
    return [str(c) for literal in literals for c in typing.get_args(literal)]


def expected(hint: Any) -> str:
    """Return a type in words: ``a whole number of 1 or more``."""
    if options := options_of(hint)[1:]:
        members = (options_of(hint)[0], *options)
        return _join(dict.fromkeys(expected(o) for o in members))
    words = _words(bare(hint))
    limits = typing.get_args(hint)[1:] if bare(hint) is not hint else ()
    return words + _limits(limits)


_SCALARS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
}


def _words(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return _join(shown(choice) for choice in arguments)
    if typing.get_origin(hint) is tuple:
        return "a list" if arguments[-1] is ... else f"a list of {len(arguments)}"
    return _SCALARS.get(hint, "a mapping")


def _limits(limits: Sequence[Any]) -> str:
    words: list[str] = []
    for limit in limits:
        match limit:
            case annotated_types.Ge():
                words.append(f"{limit.ge:g} or more")
            case annotated_types.Gt():
                words.append(f"more than {limit.gt:g}")
            case annotated_types.Le():
                words.append(f"at most {limit.le:g}")
            case annotated_types.Lt():
                words.append(f"less than {limit.lt:g}")
            case annotated_types.MinLen() | annotated_types.Len():
                words.append(f"{limit.min_length} or more")
            case _:
                pass
    return f" of {' and '.join(words)}" if words else ""


def shown(value: Any) -> str:
    """Return a value as a recipe would write it, shortened if it is long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(cast('list[Any]', value))}"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    return json.dumps(value).replace("Infinity", ".inf").replace("NaN", ".nan")


def _dotted(path: PathKey) -> str:
    """Return ``model.encoder``, ``data.train[0]``, or ``the recipe`` for an empty path."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".") or "the recipe"


def _join(words: Iterable[str]) -> str:
    """Return ``a``, ``a or b``, ``a, b or c``, or ``more than 0, or null``."""
    *most, last = words
    if not most:
        return last
    comma = "," if any(" or " in word or " of " in word for word in (*most, last)) else ""
    return f"{', '.join(most)}{comma} or {last}"
