"""Read the pickles of CIFAR: dictionaries of numbers, text and uint8 arrays.

A pickle can name any function to be called. Here it may name only those that NumPy and Python 2
write for arrays and bytes, and gets a ``_Name`` for each, whose calls this module answers itself:
nothing that a pickle names is imported or called.
"""

import pickle
import pickletools
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import Any

import numpy as np

_KNOWN = {
    "numpy.core.multiarray._reconstruct": "reconstruct",
    "numpy._core.multiarray._reconstruct": "reconstruct",
    "numpy.core.numeric._frombuffer": "frombuffer",
    "numpy._core.numeric._frombuffer": "frombuffer",
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
}
_MOST_TUPLES = 100
"""An array needs four. As keys, tuples in tuples without end would overflow Python's stack."""


def read_dictionary(data: bytes) -> dict[str, Any]:
    """Read a pickled dictionary; keys of bytes become text.

    Values are what pickles hold without naming a class, and uint8 arrays. Strings of Python 2 are
    text.

    Raises:
        ValueError: The pickle is damaged, or holds anything else.
    """
    try:
        _check_size(data)
        stored = _Unpickler(BytesIO(data), encoding="latin1").load()
    except ValueError:
        raise
    except Exception as error:  # an unpickler raises nearly anything
        raise ValueError("damaged pickle") from error
    if not isinstance(stored, dict):
        raise ValueError("expected a dictionary")
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: (
            value.content if isinstance(value, _Array) else value
        )
        for key, value in stored.items()
    }


def _check_size(data: bytes) -> None:
    """Check that no instruction takes more memory or stack than a file of this size can need."""
    tuples = 0
    for instruction, argument, _ in pickletools.genops(data):  # which has its arguments in full
        if instruction.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise ValueError("memo index out of range")
        tuples += instruction.name.startswith("TUPLE")
    if tuples > _MOST_TUPLES:
        raise ValueError(f"more than {_MOST_TUPLES} tuples")


class _Unpickler(pickle.Unpickler):
    """Refuses names that are not in ``_KNOWN``, and imports none of those."""

    def find_class(self, module_name: str, global_name: str, /) -> "_Name":
        full = f"{module_name}.{global_name}"
        if full not in _KNOWN:
            raise ValueError(f"imports {full[:60]!r}, which is not allowed")
        return _Name(_KNOWN[full])


@dataclass(frozen=True)
class _Name:
    """What a pickle would import; called, it returns what that would."""

    short: str

    def __call__(self, *arguments: Any) -> Any:
        match (self.short, *arguments):
            case ("encode", str() as text, "latin1"):
                return text.encode("latin1")
            case ("dtype", "u1", *_):
                return _ByteType()
            case ("reconstruct", _Name("ndarray"), (0,), _):
                return _Array()
            case ("frombuffer", bytes() | bytearray() as data, _ByteType(), tuple() as shape, "C"):
                return _Array(_array(data, shape))
            case ("dtype", str() as kind, *_):
                raise ValueError(f"array of type {kind[:20]!r}, expected uint8")
            case _:
                raise ValueError("unexpected function call")

    def __setstate__(self, state: object) -> None:
        raise ValueError("unexpected change of a function")


class _ByteType:
    """The type of an array of unsigned bytes."""

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment."""


@dataclass
class _Array:
    """An array; without content until ``__setstate__`` was called."""

    content: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        match (self.content, state):
            case (None, (1, tuple() as shape, _ByteType(), False, str() | bytes() as data)):
                raw = data.encode("latin1") if isinstance(data, str) else data
                self.content = _array(raw, shape)
            case _:
                raise ValueError("array that is not uint8 in C order")


def _array(data: bytes | bytearray, shape: tuple[Any, ...]) -> np.ndarray:
    sizes = [size for size in shape if type(size) is int and size >= 0]
    if len(sizes) != len(shape) or prod(sizes) != len(data):
        raise ValueError("array whose shape does not match its bytes")
    return np.frombuffer(data, dtype=np.uint8).reshape(sizes)
