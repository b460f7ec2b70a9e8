"""Read dictionaries of numbers, text and arrays from pickles, without executing the pickles.

A pickle is a program. This reads its instructions with ``pickletools``, which runs nothing, and
carries out those that build plain values. Of functions it knows the names of four that NumPy
and Python 2 write, and does their work itself; nothing is imported and nothing called by name.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

Stack: TypeAlias = list[Any]


class _Mark:
    """Where the items of a collection start on the stack."""


@dataclass(frozen=True)
class _Name:
    """What a pickle would import; one of ``_KNOWN``."""

    full: str


@dataclass
class _Array:
    """An array whose content has not come yet; an array once it has."""

    content: np.ndarray | None = None


class _ByteType:
    """The type of an array of unsigned bytes."""


_MARK = _Mark()
_KNOWN = {
    "numpy.core.multiarray _reconstruct": "reconstruct",
    "numpy._core.multiarray _reconstruct": "reconstruct",
    "numpy.core.numeric _frombuffer": "frombuffer",
    "numpy._core.numeric _frombuffer": "frombuffer",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}
_LITERALS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1"),
    *("SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_NOTHING = {"PROTO", "FRAME"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_dictionary(data: bytes) -> dict[str, Any]:
    """Read the dictionary in a pickle of protocol 2 to 5; keys of bytes become text.

    Values are whole numbers, text, bytes, lists, tuples, dictionaries and uint8 arrays. Strings of
    Python 2 are text.

    Raises:
        ValueError: The pickle is damaged, or holds anything else.
    """
    machine = _Machine()
    try:
        for instruction, argument, _ in pickletools.genops(data):
            if instruction.name == "STOP":
                break
            machine.run(instruction.name, argument)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("its instructions do not fit together") from error
    if len(machine.stack) != 1 or not isinstance(machine.stack[0], dict):
        raise ValueError("it holds no dictionary")
    found: dict[str, Any] = {}
    for key, value in machine.stack[0].items():
        name = key.decode("latin1") if isinstance(key, bytes) else str(key)
        found[name] = value.content if isinstance(value, _Array) else value
    return found


class _Machine:
    """A stack and a memory, as the unpickler has them."""

    def __init__(self) -> None:
        self.stack: Stack = []
        self.memory: dict[int, Any] = {}
        self.actions: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self.stack.append(_MARK),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "TUPLE": lambda _: self.stack.append(tuple(self.items())),
            "APPEND": lambda _: self.append([self.stack.pop()]),
            "APPENDS": lambda _: self.append(self.items()),
            "SETITEM": lambda _: self.set(self.last(2)),
            "SETITEMS": lambda _: self.set(self.items()),
            "MEMOIZE": lambda _: self.put(len(self.memory)),
            "BINPUT": self.put,
            "LONG_BINPUT": self.put,
            "BINGET": lambda number: self.stack.append(self.memory[number]),
            "LONG_BINGET": lambda number: self.stack.append(self.memory[number]),
            "GLOBAL": self.name,
            "STACK_GLOBAL": lambda _: self.name(" ".join(self.last(2))),
            "REDUCE": lambda _: self.stack.append(_apply(*self.last(2))),
            "BUILD": lambda _: _fill(self.stack[-2], self.stack.pop()),
        }

    def run(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _LITERALS:
            self.stack.append(_LITERALS[name])
        elif name in _TUPLES:
            self.stack.append(tuple(self.last(_TUPLES[name])))
        elif name in self.actions:
            self.actions[name](argument)
        elif name not in _NOTHING:
            raise ValueError(f"it has the instruction {name}, which plain data do not need")

    def last(self, count: int) -> Stack:
        """Take so many values from the stack."""
        if len(self.stack) < count:
            raise IndexError
        start = len(self.stack) - count
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def items(self) -> Stack:
        """Take all values above the last mark, and the mark."""
        taken: Stack = []
        while (value := self.stack.pop()) is not _MARK:
            taken.append(value)
        taken.reverse()
        return taken

    def append(self, items: Stack) -> None:
        """Append to the list on top of the stack."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError
        target.extend(items)

    def set(self, items: Stack) -> None:
        """Fill the dictionary on top of the stack with keys and values by turns."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes):
                raise TypeError
            target[key] = value

    def put(self, number: int) -> None:
        """Remember what is on top of the stack."""
        self.memory[number] = self.stack[-1]

    def name(self, full: str) -> None:
        """Take a name for what it means here."""
        if full not in _KNOWN:
            name = full[:60].replace(" ", ".")
            raise ValueError(f"it wants to import {name!r}, which is refused")
        self.stack.append(_Name(_KNOWN[full]))


def _apply(function: Any, arguments: Any) -> Any:
    """Return what a known function would return."""
    match (function, arguments):
        case (_Name("encode"), (str() as text, "latin1")):
            return text.encode("latin1")
        case (_Name("dtype"), ("u1", *_)):
            return _ByteType()
        case (_Name("reconstruct"), (_Name("ndarray"), (0,), _)):
            return _Array()
        case (_Name("frombuffer"), (bytes() | bytearray() as data, _ByteType(), shape, "C")):
            return _Array(_array(data, shape))
        case (_Name("dtype"), (str() as kind, *_)):
            raise ValueError(f"it has an array of the type {kind[:20]!r}; only uint8 is read")
        case _:
            raise ValueError("it calls something that plain data do not need")


def _fill(target: Any, state: Any) -> None:
    """Set the content of a new array."""
    match (target, state):
        case (_ByteType(), tuple()):
            return
        case (_Array(content=None), (1, shape, _ByteType(), False, str() | bytes() as data)):
            raw = data.encode("latin1") if isinstance(data, str) else data
            target.content = _array(raw, shape)
        case _:
            raise ValueError("it has an array that is not rows of uint8 in C order")


def _array(data: bytes | bytearray, shape: Any) -> np.ndarray:
    sizes = [size for size in shape if type(size) is int and size >= 0]
    if len(sizes) != len(shape) or prod(sizes) != len(data):
        raise ValueError("it has an array whose shape does not fit its bytes")
    return np.frombuffer(data, dtype=np.uint8).reshape(sizes)
