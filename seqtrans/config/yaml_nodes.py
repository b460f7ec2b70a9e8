"""YAML nodes: compose them within bounds, convert them to plain values, explain errors."""

import re
from typing import Any, cast

import yaml

from seqtrans.errors import RecipeError

MAX_DEPTH = 40  # a recipe nests about 5 deep
MAX_VALUES = 100_000  # an alias counts as all values of its anchor
MAX_MERGES = 10_000
MAX_INTEGER = 2**63 - 1  # the largest int64

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
