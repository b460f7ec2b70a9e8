"""What a checkpoint's ``state.yaml`` may hold: plain values of known kinds, and nothing else.

A checksum says that a file is as it was written, not who wrote it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import PurePath
from typing import Any, TypeGuard, cast

from seqtrans.training.checkpoints.provenance import Origins
from seqtrans.training.state import TrainState
from seqtrans.training.stopping import StoppingConfig, StoppingState

_LARGEST = 2**53  # steps, bytes and the like are less


def check_values(plain: Mapping[str, Any]) -> None:
    """See that the values of a checkpoint are what they should be; any may be absent.

    Raises:
        ValueError: One is not; the message names it.
    """
    for name, is_right in _KINDS.items():
        if name in plain and not is_right(plain[name]):
            raise ValueError(f"'{name}' is not what seqtrans writes")


def state_from(plain: Mapping[str, Any]) -> TrainState:
    """The state among the checked values of a checkpoint."""
    values: dict[str, Any] = dict(plain["state"])
    loss = plain.get("judged", {}).get("loss")  # beside the state, as others can't read it there
    stopping = StoppingState(**values.pop("stopping", {}) | {"loss": loss})
    return TrainState(**values, stopping=stopping)


def plain_state(state: TrainState, config: StoppingConfig, origins: Origins) -> dict[str, Any]:
    """Return what ``state_from`` reads, and what its numbers depend on, as plain values.

    Versions of seqtrans that know less pass over what they don't know.
    """
    values = asdict(state)
    loss = values["stopping"].pop("loss")
    judged = {"metric": config.metric, "maximised": config.is_maximized, "loss": loss}
    parts = {name: dict(texts) for name, texts in vars(origins).items()}
    return {"state": values, "judged": judged, **parts}


def _is_judged(value: object) -> bool:
    kinds: Mapping[str, Callable[[object], bool]] = {
        "metric": lambda value: isinstance(value, str),
        "maximised": lambda value: isinstance(value, bool),
        "loss": lambda value: value is None or _is_number(value),
    }
    return (
        _is_mapping(value)
        and value.keys() == kinds.keys()
        and all(is_right(value[name]) for name, is_right in kinds.items())
    )


def _are_texts(value: object) -> bool:
    return _is_mapping(value) and all(isinstance(text, str) for text in value.values())


def _is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_measure(value: object) -> bool:
    """A number that is neither negative nor endless."""
    return _is_number(value) and 0 <= cast("float", value) < math.inf


def _is_state(value: object) -> bool:
    return _has_fields(TrainState, value)


def _has_fields(cls: type[Any], value: object) -> bool:
    names = {field.name: field.type for field in fields(cls)}
    return (
        _is_mapping(value)
        and set(value) <= names.keys()
        and all(_OF_TYPE[names[name]](value[name]) for name in value)
    )


def _are_metrics(value: object) -> bool:
    return _is_mapping(value) and all(map(_is_number, value.values()))


def _are_files(value: object) -> bool:
    return _is_mapping(value) and all(
        name == PurePath(name).name and len(name) < 200 and "\0" not in name and _is_seal(seal)
        for name, seal in value.items()
    )


def _is_seal(value: object) -> bool:
    return (
        _is_mapping(value)
        and set(value) == {"bytes", "sha256"}
        and _is_count(value["bytes"])
        and isinstance(value["sha256"], str)
    )


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_count, cast("list[object]", value)))


_OF_TYPE: Mapping[Any, Callable[[object], bool]] = {
    int: _is_count,
    float: _is_measure,
    float | None: lambda value: value is None or _is_number(value),
    StoppingState: lambda value: _has_fields(StoppingState, value),
}
_KINDS: Mapping[str, Callable[[object], bool]] = {
    "files": _are_files,
    "state": _is_state,
    "metrics": _are_metrics,
    "optimizer": lambda value: isinstance(value, str),
    "steps": _are_counts,
    "judged": _is_judged,
    "kept": _are_texts,
    "measured": _are_texts,
    "order": _are_texts,
}
