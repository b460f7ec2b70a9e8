"""Read YAML text as plain values with their line numbers; explain errors.

Scalars follow YAML 1.2's core schema, so ``1e-4`` is a number and ``no`` is text. In addition,
``<<`` merges mappings as in YAML 1.1.
"""

import codecs
import dataclasses
import re
from pathlib import Path
from typing import Any, cast

import yaml

from seqtrans.errors import RecipeError
from seqtrans.runtime.files.encoding_hints import advice
from seqtrans.runtime.files.file_types import HEAD, foreign

MAX_DEPTH = 40  # a recipe nests about 5 deep
MAX_VALUES = 100_000  # an alias counts as all values of its anchor
MAX_MERGES = 10_000
MAX_INTEGER = 2**63 - 1  # the largest int64

_MARKS = {  # byte order marks, the longer first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
OPTION = "--set "  # begins the place of a value that was set on the command line

PathKey = tuple[str | int, ...]

_YAML = "tag:yaml.org,2002:"
_TAGS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}
_KINDS: dict[type[yaml.Node], tuple[str, ...]] = {
    yaml.ScalarNode: (*_TAGS, "str"),
    yaml.SequenceNode: ("seq",),
    yaml.MappingNode: ("map",),
}
CORE: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
for _name, (_pattern, _first) in _TAGS.items():
    for _character in _first:
        _rule = (f"{_YAML}{_name}", re.compile(f"^(?:{_pattern})$"))
        CORE.setdefault(_character, []).append(_rule)


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

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key of the top level; ``default`` where there is none."""
        return self.value.get(key, default) if isinstance(self.value, dict) else default


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


class Loader(yaml.SafeLoader):
    """Composes nodes only: scalars of YAML 1.2, a bounded depth."""

    yaml_implicit_resolvers = CORE  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose as PyYAML does, with a limit on depth; refuse the tag ``!``."""
        self.depth += 1
        event = self.peek_event()
        problem = "nested too deeply" if self.depth > MAX_DEPTH else None
        if getattr(event, "tag", None) == "!":
            problem = "the tag ! is not known"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class Reading:
    """One pass over the nodes of a document."""

    def __init__(self, name: str, loader: Loader) -> None:
        self.name = name
        self.loader = loader
        self.places: dict[PathKey, str] = {}
        self.problems: list[str] = []
        self.repeated: list[str] = []  # messages about repeated keys; the first value counts
        self.merges = 0

    def value_of(self, node: yaml.Node, path: PathKey, place: str | None = None) -> Any:
        """Return the plain value of a node; record its place and any problems."""
        self.places[path] = place or self._place(node)
        if len(self.places) > MAX_VALUES or len(path) > MAX_DEPTH:
            raise RecipeError(f"{self.places[path]}: aliases expand to too many values")
        kind = node.tag.removeprefix(_YAML)
        if kind not in {tag for tags in _KINDS.values() for tag in tags}:
            self.problems.append(f"{self._place(node)}: the tag {node.tag} is not known")
        elif kind not in _KINDS[type(node)]:
            what = {"seq": "a list", "map": "a mapping"}.get(
                _KINDS[type(node)][0], "a single value"
            )
            self.problems.append(f"{self._place(node)}: !!{kind} is no tag of {what}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value_of(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(cast("yaml.ScalarNode", node), kind)

    def _mapping(self, node: yaml.MappingNode, path: PathKey) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        entries = {**self._merged(node, 0), **self._keys(node)}
        for key, (place, value_node) in entries.items():
            mapping[key] = self.value_of(value_node, (*path, key), place)
        return mapping

    def _keys(self, node: yaml.MappingNode) -> dict[str, tuple[str, yaml.Node]]:
        """Return place and value node of each key that the mapping itself has."""
        entries: dict[str, tuple[str, yaml.Node]] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(f"{place}: a key must be a word")
            elif _is_merge(key_node):
                continue
            elif key_node.value in entries:
                self.repeated.append(f"{place}: the key '{key_node.value}' is given twice")
            else:
                entries[key_node.value] = place, value_node
        return entries

    def _merged(self, node: yaml.MappingNode, depth: int) -> dict[str, tuple[str, yaml.Node]]:
        """Return the entries of the mappings merged by ``<<``; the first mapping wins."""
        entries: dict[str, tuple[str, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if not (isinstance(key_node, yaml.ScalarNode) and _is_merge(key_node)):
                continue
            many = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for one in many:
                self.merges += 1
                if depth > MAX_DEPTH or self.merges > MAX_MERGES:
                    raise RecipeError(f"{self._place(key_node)}: << expands to too many merges")
                if not isinstance(one, yaml.MappingNode):
                    self.problems.append(
                        f"{self._place(key_node)}: << takes a mapping, or a list of them: <<: *NAME"
                    )
                    continue
                entries = {**self._merged(one, depth + 1), **self._keys(one), **entries}
        return entries

    def _scalar(self, node: yaml.ScalarNode, kind: str) -> Any:
        text = cast("str", node.value)
        try:
            if kind in _TAGS and not re.fullmatch(_TAGS[kind][0], text):
                raise ValueError
            match kind:
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return _parse_int(text)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
                case _:
                    text.encode()  # an escape such as "\ud800" can't be encoded
                    return text
        except OverflowError:
            self.problems.append(f"{self._place(node)}: {text[:40]} is too large")
        except ValueError:
            self.problems.append(f"{self._place(node)}: cannot read {text[:40]!r} as {kind}")
        return None

    def _place(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"


def explain(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Return the line of a syntax error, from 1, and its cause with the likely fix."""
    problem = error.problem or error.context or "cannot be read"
    mark = error.problem_mark
    if problem.startswith("but ") and error.context:
        problem = f"{error.context}, {problem}"
    start = error.context_mark
    if "expected ':'" in problem or "<stream end>" in problem:
        mark = start or mark  # where the construct starts, not where the error was noticed
    hint = next((hint for part, hint in _HINTS.items() if part in problem), "")
    return mark.line + 1 if mark else 1, problem + hint


_HINTS = {
    r"character '\t'": ": a tab: use spaces",
    "that cannot start any token": ": text that begins with it needs quotes",
    "unknown escape character": ": write text with \\ in single quotes",
    "expected alphabetic or numeric character": ": text that begins with * or & needs quotes",
    "could not find expected ':'": ": write KEY: VALUE, with a space after the colon",
    "mapping values are not allowed": ": check the indentation; quote text that contains ': '",
    "<stream end>": ": a { or [ is not closed",
    "another document": ": a recipe is one document, without a second ---",
}


def _parse_int(text: str) -> int:
    number = int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if abs(number) > MAX_INTEGER:
        raise OverflowError
    return number


def _is_merge(key: yaml.ScalarNode) -> bool:
    """Return whether a key is ``<<``, the merge key of YAML 1.1."""
    return key.value == "<<" and key.style is None
