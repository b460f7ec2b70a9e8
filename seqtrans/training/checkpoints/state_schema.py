"""What a checkpoint's ``state.yaml`` may hold: values of these types, and nothing else.

They are checked because a valid checksum does not show that seqtrans wrote the file.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import PurePath
from typing import Any

from seqtrans import config
from seqtrans.config.types import AnyFloat, Count
from seqtrans.errors import CheckpointError, RecipeError
from seqtrans.training.checkpoints.provenance import Origins
from seqtrans.training.state import TrainState
from seqtrans.training.stopping import StoppingConfig, StoppingState

_LONGEST_NAME = 200  # of a file


@dataclass(frozen=True, kw_only=True)
class Seal:
    """Size and checksum of a file."""

    bytes: Count
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    """By which metric patience counts, and the loss of the best validation."""

    metric: str
    maximised: bool  # the name that it has had on the disk since the first version
    loss: AnyFloat | None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The values of a checkpoint; all but ``files`` may be absent."""

    files: Mapping[str, Seal]
    state: TrainState = field(default_factory=TrainState)
    metrics: Mapping[str, AnyFloat] = field(default_factory=dict[str, float])
    optimizer: str = ""
    steps: tuple[Count, ...] = ()
    judged: Judged | None = None
    kept: Mapping[str, str] = field(default_factory=dict[str, str])
    measured: Mapping[str, str] = field(default_factory=dict[str, str])
    order: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Refuse names of files that lie elsewhere."""
        for name in self.files:
            if name != PurePath(name).name or len(name) >= _LONGEST_NAME or "\0" in name:
                raise ValueError("files: a name is none of a file in this folder")


def check_values(document: config.Document) -> None:
    """Check types and ranges of the values of a checkpoint; unknown keys are ignored.

    Raises:
        CheckpointError: One is not; the message names it and its line.
    """
    known = {key: document.value[key] for key in _KNOWN if key in document.value}
    try:
        config.validate(Stored, replace(document, value=known))
    except RecipeError as error:
        first = str(error).partition("\n")[0]
        raise CheckpointError(f"{first}; seqtrans did not write this: it was altered") from error


_KNOWN = [one.name for one in fields(Stored)]


def state_from(plain: Mapping[str, Any]) -> TrainState:
    """Return the state among the checked values of a checkpoint."""
    values: dict[str, Any] = dict(plain["state"])
    loss = (plain.get("judged") or {}).get("loss")  # others can't read it in the state
    stopping = StoppingState(**values.pop("stopping", {}) | {"loss": loss})
    return TrainState(**values, stopping=stopping)


def plain_state(state: TrainState, stopping: StoppingConfig, origins: Origins) -> dict[str, Any]:
    """Return what ``state_from`` reads, and the origins, as plain values.

    Earlier versions of seqtrans ignore keys that they don't know.
    """
    values = asdict(state)
    loss = values["stopping"].pop("loss")
    judged = {"metric": stopping.metric, "maximised": stopping.is_maximized, "loss": loss}
    parts = {name: dict(texts) for name, texts in vars(origins).items()}
    return {"state": values, "judged": judged, **parts}
