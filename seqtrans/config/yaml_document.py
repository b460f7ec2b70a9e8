"""Read YAML text as plain values with their line numbers, and write values as YAML.

Scalars follow YAML 1.2's core schema, so ``1e-4`` is a number and ``no`` is text. In addition,
``<<`` merges mappings as in YAML 1.1.
"""

import codecs
import dataclasses
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from seqtrans.config.yaml_nodes import CORE, Loader, PathKey, Reading, explain
from seqtrans.errors import RecipeError
from seqtrans.runtime.files.encoding_hints import advice
from seqtrans.runtime.files.file_types import HEAD, foreign

_MARKS = {  # byte order marks, the longer first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
OPTION = "--set "  # begins the place of a value that was set on the command line


@dataclasses.dataclass(frozen=True)
class Document:
    """The plain values of a YAML text (mappings, lists, scalars) and where each was written."""

    value: Any
    places: dict[PathKey, str]  # "recipe.yaml:3", or the command-line option that set it
    mistakes: tuple[str, ...] = ()  # repeated keys, bad settings; ``validate`` reports them

    def place(self, path: PathKey) -> str:
        """Return where the value at ``path``, or the nearest value around it, was written."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places[path]

    def is_override(self, path: PathKey) -> bool:
        """Return whether ``override`` set the value at ``path``, or a value around it."""
        return self.place(path).startswith(OPTION)


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


def read(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        RecipeError: It is missing, not a file, not UTF-8, empty, or not YAML.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RecipeError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise RecipeError(f"{path}: is a directory, not a recipe file") from None
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte {error.start + 1} is 0x{content[error.start]:02x}"
        what = foreign(content[:HEAD])
        hint = f"it is {what.name}: {what.advice}" if what else advice(content)
        named = encoding.upper().removesuffix("-SIG")
        raise RecipeError(f"{path}:{line}: not {named} text: {byte}; {hint}") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """Read YAML text; ``name`` stands for the file in error messages.

    Raises:
        RecipeError: The text is empty, not YAML, or uses YAML that recipes do not allow.
    """
    try:
        loader = Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line, problem = explain(error)
        raise RecipeError(f"{name}:{line}: not YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        hint = ": save it as UTF-8" if error.character == 0 else ""
        code = f"U+{cast('int', error.character):04X}"
        raise RecipeError(
            f"{name}:{line}: not YAML: it holds the control code {code}{hint}"
        ) from None
    if node is None:
        raise RecipeError(f"{name}: is empty")
    reading = Reading(name, loader)
    value = reading.value_of(node, ())
    if reading.problems:
        raise RecipeError("\n".join((*reading.problems, *reading.repeated)))
    return Document(value, reading.places, tuple(reading.repeated))


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
