"""Config dataclasses as pydantic types: the only module that imports pydantic.

Every dataclass is mirrored by a ``TypedDict`` that forbids unknown keys and converts nothing;
the dataclass is then built from the checked values, so its ``__post_init__`` validates them. The
discriminator of a union of dataclasses is the field in which each member has a ``Literal``
(``kind``), so that mistakes are reported only for the selected class.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypeVar, Union, cast

import pydantic
from typing_extensions import TypedDict

from seqtrans.config.field_docs import notes_of
from seqtrans.config.trees import plain
from seqtrans.config.types import MAY_BE_INFINITE, Untagged

T = TypeVar("T")
MAPPING, SCALAR = "<mapping>", "<scalar>"
"""In a location: which half of a union of dataclasses and other types checked the value."""
_STRICT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Mistake(NamedTuple):
    """One reason why a value is invalid."""

    reason: str  # pydantic's name of the kind of mistake
    location: tuple[str | int, ...]  # keys and indexes, with the chosen ``kind`` of each union
    message: str  # from a ``__post_init__``; empty for other reasons


def check(cls: type[T], value: Any) -> T | list[Mistake]:
    """Build a ``cls`` from plain values, or return all mistakes in them."""
    try:
        return cast("T", _adapter(cls).validate_json(json.dumps(value)))
    except pydantic.ValidationError as invalid:
        mistakes = [
            Mistake(e["type"], e["loc"], str(e.get("ctx", {}).get("error", "")))
            for e in invalid.errors(include_url=False, include_input=False)
        ]
    # pydantic counts only the valid items of a list, so an invalid item makes it "too short".
    return [m for m in mistakes if m.reason != "too_short" or not _is_around(m, mistakes)]


def _is_around(mistake: Mistake, others: list[Mistake]) -> bool:
    depth = len(mistake.location)
    return any(o.location[:depth] == mistake.location != o.location for o in others)


def json_schema(cls: type[object]) -> dict[str, Any]:
    """Return the JSON Schema of a ``cls`` file, for completion and checks in editors."""
    schema = _adapter(cls).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def fields_of(cls: type[object]) -> dict[str, Any]:
    """Return names and annotated types of the fields in a dataclass's constructor."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cast("Any", cls)) if f.init}


def bare(hint: Any) -> Any:
    """Return a type without its ``Annotated`` ranges."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def options_of(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union; for any other type, the type alone."""
    hint = bare(hint)
    is_union = typing.get_origin(hint) in (Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def tags_of(hint: Any) -> tuple[str, dict[str, type[object]]]:
    """Return the discriminator field of a union of dataclasses, and the class of each value.

    The result is ``("", {})`` if there are fewer than two dataclasses.
    """
    classes = [cast("type[object]", c) for c in options_of(hint) if dataclasses.is_dataclass(c)]
    if len(classes) < 2:
        return "", {}
    for name in fields_of(classes[0]):
        values = [fields_of(c).get(name) for c in classes]
        if all(typing.get_origin(v) is Literal for v in values):
            return name, {typing.get_args(v)[0]: c for v, c in zip(values, classes, strict=True)}
    raise TypeError(f"nothing tells {' and '.join(map(str, classes))} apart")


@cache
def _adapter(cls: type[object]) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(_mirror(cls))


def _mirror(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return _mirror_class(cast("type[object]", hint))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        marks = [part for mark in arguments[1:] for part in _marks(mark, hint)]
        return Annotated[(_mirror(arguments[0]), *marks)]  # type: ignore[return-value]
    if origin in (Union, types.UnionType):
        return _mirror_union(hint)
    if origin is Mapping:
        return Mapping[tuple(map(_mirror, arguments))]  # type: ignore[misc]
    if origin is tuple:
        return tuple[tuple(a if a is ... else _mirror(a) for a in arguments)]  # type: ignore[misc]
    return hint


def _marks(mark: Any, hint: Any) -> tuple[Any, ...]:
    """Return pydantic's equivalent of an annotation of a type."""
    if isinstance(mark, Untagged):
        return _untagged(mark, hint), _AnyOf()
    return (pydantic.AllowInfNan() if mark == MAY_BE_INFINITE else mark,)


def _untagged(rule: Untagged, union: Any) -> pydantic.BeforeValidator:
    tag, _ = tags_of(union)

    def complete(value: Any) -> Any:
        is_untagged = isinstance(value, dict) and tag not in value
        return rule.complete(cast("dict[str, Any]", value)) if is_untagged else value

    return pydantic.BeforeValidator(complete)


class _AnyOf:
    """Let editors take a mapping without a kind, which may fit several members of a union."""

    def __get_pydantic_json_schema__(
        self, core_schema: Any, handler: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        schema = handler(core_schema)
        return {"anyOf": schema["oneOf"]}


def _mirror_union(hint: Any) -> Any:
    """Build a union that reports mistakes of one member: mappings are checked as dataclasses."""
    tag, classes = tags_of(hint)
    options = options_of(hint)
    rest = [option for option in options if not dataclasses.is_dataclass(option)]
    plain_types = Union[tuple(map(_mirror, rest))] if rest else None  # noqa: UP007
    mappings = [_mirror(option) for option in options if dataclasses.is_dataclass(option)]
    if not mappings:
        return plain_types
    chosen = Union[tuple(mappings)]  # noqa: UP007
    if classes:
        chosen = Annotated[chosen, pydantic.Field(discriminator=tag)]
    if rest in ([], [type(None)]):
        return Union[(chosen, *rest)]  # type: ignore[return-value]
    members = (
        Annotated[chosen, pydantic.Tag(MAPPING)],
        Annotated[plain_types, pydantic.Tag(SCALAR)],
    )
    either = Union[members]  # noqa: UP007 - a tuple can't be joined by |
    return Annotated[either, pydantic.Discriminator(_part_of_union)]  # type: ignore[return-value]


def _part_of_union(value: object) -> str:
    return MAPPING if isinstance(value, dict) else SCALAR


def _mirror_class(cls: type[object]) -> Any:
    hints = fields_of(cls)
    members: dict[str, Any] = {}
    for field in dataclasses.fields(cast("Any", cls)):
        if not field.init:
            continue
        about = pydantic.Field(json_schema_extra=_about(cls, field))
        member = Annotated[_mirror(hints[field.name]), about]
        members[field.name] = NotRequired[member] if has_default(field) else member
    mirror = cast("Any", TypedDict)(cls.__name__, members)
    mirror.__pydantic_config__ = _STRICT
    mirror.__doc__ = (cls.__doc__ or "").partition("\n")[0]
    return Annotated[mirror, pydantic.AfterValidator(_builder(cls))]


def _about(cls: type[object], field: dataclasses.Field[Any]) -> Callable[[dict[str, Any]], None]:
    """Return a function that adds the note and default of a field to its schema.

    The note is read from the source only when a schema is made, as that takes time.
    """

    def add_to(schema: dict[str, Any]) -> None:
        if note := notes_of(cls).get(field.name):
            schema["description"] = note
        if has_default(field):
            schema["default"] = plain(default_of(field))

    return add_to


def _builder(cls: type[T]) -> Callable[[Mapping[str, Any]], T]:
    return lambda values: cls(**values)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field; ``dataclasses.MISSING`` if it is required."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def has_default(field: dataclasses.Field[Any]) -> bool:
    """Return whether a field may be left out."""
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing
