"""YAML text as plain values that remember the line each came from, and back to text.

The scalars are those of YAML 1.2's core schema, so ``1e-4`` is a number and ``no`` is a word.
"""

import dataclasses
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from seqtrans.errors import RecipeError

MAX_DEPTH = 40  # a recipe nests about 5 deep
MAX_VALUES = 100_000  # an alias counts as all that it stands for
MAX_INTEGER = 2**63 - 1  # more than this fits no tensor

_OPTION = "--set "
PathKey = tuple[str | int, ...]

_TAGS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}
_CORE: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
for _name, (_pattern, _first) in _TAGS.items():
    for _character in _first:
        _rule = (f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"))
        _CORE.setdefault(_character, []).append(_rule)


@dataclasses.dataclass(frozen=True)
class Document:
    """The plain values of a YAML text (mappings, lists, scalars) and where each was written."""

    value: Any
    places: dict[PathKey, str]  # "recipe.yaml:3", or the command-line option that set it
    mistakes: tuple[str, ...] = ()  # repeated keys, settings of nothing; ``validate`` tells them

    def place(self, path: PathKey) -> str:
        """Where the value at ``path`` was written, or the nearest value that holds it."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places[path]

    def is_override(self, path: PathKey) -> bool:
        """Whether the value at ``path`` was set by ``override``, or what holds it was."""
        return self.place(path).startswith(_OPTION)


class _Loader(yaml.SafeLoader):
    """Composes nodes only: scalars of YAML 1.2, a bounded depth."""

    yaml_implicit_resolvers = _CORE  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes what ``_Loader`` would not read as text."""

    yaml_implicit_resolvers = _CORE  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """Escape what would be folded or lost in any other style, such as U+0085 and U+2028."""
        style = None if data.isprintable() else '"'
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
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte {error.start + 1} is 0x{content[error.start]:02x}"
        raise RecipeError(f"{path}:{line}: not UTF-8 text: {byte}") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """Read YAML text; ``name`` stands for the file in error messages.

    Raises:
        RecipeError: The text is empty, not YAML, or holds what no recipe does.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or error.context or "cannot be read"
        if problem.startswith("but ") and error.context:
            problem = f"{error.context}, {problem}"
        raise RecipeError(f"{name}:{line}: not YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = f"U+{cast('int', error.character):04X}"
        raise RecipeError(f"{name}:{line}: not YAML: it holds the control code {code}") from None
    if node is None:
        raise RecipeError(f"{name}: is empty")
    reading = _Reading(name, loader)
    value = reading.value_of(node, ())
    if reading.problems:
        raise RecipeError("\n".join((*reading.problems, *reading.repeated)))
    return Document(value, reading.places, tuple(reading.repeated))


class _Reading:
    """One pass over the nodes of a document."""

    def __init__(self, name: str, loader: _Loader) -> None:
        self.name = name
        self.loader = loader
        self.places: dict[PathKey, str] = {}
        self.problems: list[str] = []
        self.repeated: list[str] = []  # keys, of which the first value counts
        self.depth = 0

    def value_of(self, node: yaml.Node, path: PathKey, place: str | None = None) -> Any:
        self.places[path] = place or self._place(node)
        if len(self.places) > MAX_VALUES or len(path) > MAX_DEPTH:
            raise RecipeError(f"{self.places[path]}: aliases make this document endless")
        kind = node.tag.rpartition("tag:yaml.org,2002:")[2]
        if kind not in (*_TAGS, "str", "seq", "map"):
            self.problems.append(f"{self._place(node)}: the tag {node.tag} is not known")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value_of(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(cast("yaml.ScalarNode", node), kind)

    def _mapping(self, node: yaml.MappingNode, path: PathKey) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(f"{place}: a key must be a word")
                continue
            key = cast("str", key_node.value)
            if key in mapping:
                self.repeated.append(f"{place}: the key '{key}' is given twice")
                continue
            mapping[key] = self.value_of(value_node, (*path, key), place)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, kind: str) -> Any:
        text = cast("str", node.value)
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return _whole(text)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
                case _:
                    text.encode()  # an escape such as "\ud800" makes text that no file can hold
                    return text
        except ValueError:
            self.problems.append(f"{self._place(node)}: cannot read {text[:40]!r} as {kind}")
        return None

    def _place(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"


def _whole(text: str) -> int:
    number = int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if abs(number) > MAX_INTEGER:
        raise ValueError
    return number


def override(document: Document, settings: Sequence[str]) -> Document:
    """Replace values by ``key.path=value``, where the value is YAML and lists count from 0.

    A setting that has no ``=``, or whose path leads through a value without keys, is one of the
    ``mistakes`` of what is returned.
    """
    for setting in settings:
        try:
            document = _override_one(document, setting)
        except RecipeError as error:
            document = dataclasses.replace(document, mistakes=(*document.mistakes, str(error)))
    return document


def _override_one(document: Document, setting: str) -> Document:
    dotted, equals, text = setting.partition("=")
    name = f"{_OPTION}{dotted}"
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


def dump(value: object) -> str:
    """Write a dataclass as YAML with every default written out; ``load`` reads it back."""
    return yaml.dump(
        plain(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000
    )


def flow(value: Hashable | dict[str, Any] | list[Any]) -> str:
    """Plain values as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def plain(value: object) -> Hashable | dict[str, Any] | list[Any]:
    """Dataclasses as mappings, tuples as lists and paths as text, all the way down."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # First what says how to read the others, also where a class inherits these.
        fields = sorted(dataclasses.fields(value), key=lambda field: field.name != "kind")
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, tuple | list):
        return [plain(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in cast("dict[object, object]", value).items()}
    return str(value) if isinstance(value, Path) else cast("Hashable", value)
