"""The interface of export formats, and those that torch alone reads and writes."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

import torch
from torch import nn
from torch.jit import TracerWarning  # pyright: ignore[reportPrivateImportUsage]

from seqtrans.tensor_types import Float, Tensor

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
METADATA = "metadata.json"
"""Name, within a file of torch, of what is stored beside the network."""


class Loaded(NamedTuple):
    """An exported file, read back.

    Attributes:
        logits: Pixels (B, channels, height, width) to logits (B, classes).
        about: What was stored with it; see ``Contract.described``.
    """

    logits: Callable[[Tensor], Tensor]
    about: dict[str, Any]


class Format(Protocol):
    """A kind of file."""

    def write(
        self,
        network: nn.Module,
        example: Float[Tensor, "B channels height width"],
        about: Mapping[str, Any],
        file: BinaryIO,
    ) -> None:
        """Write a network that takes batches of any size.

        Args:
            network: In evaluation mode, on the CPU.
            example: Two images or more.
            about: Stored in the file, as JSON.
            file: Where it goes.
        """
        ...

    def read(self, path: Path) -> Loaded:
        """Load what ``write`` wrote."""
        ...


class TorchScript:
    """For ``torch.jit.load`` in Python or C++; see ``Format``.

    Height and width are fixed, so that what tracing takes for constant is constant.
    """

    def write(
        self,
        network: nn.Module,
        example: Float[Tensor, "B channels height width"],
        about: Mapping[str, Any],
        file: BinaryIO,
    ) -> None:
        """See ``Format.write``."""
        extra = {METADATA: json.dumps(about, ensure_ascii=False)}
        with warnings.catch_warnings(), torch.no_grad():
            _ignore_deprecation()
            warnings.filterwarnings("ignore", category=TracerWarning)  # of sizes of images
            traced = torch.jit.trace(network, (example,), check_trace=False)
            torch.jit.save(cast("Any", traced), file, _extra_files=extra)

    def read(self, path: Path) -> Loaded:
        """See ``Format.read``."""
        extra: dict[str, Any] = {METADATA: ""}
        with warnings.catch_warnings():
            _ignore_deprecation()
            network = torch.jit.load(path, map_location="cpu", _extra_files=extra)
        return Loaded(network, json.loads(extra[METADATA]))


class ExportedProgram:
    """For ``torch.export.load``, and for AOTInductor and ExecuTorch; see ``Format``."""

    def write(
        self,
        network: nn.Module,
        example: Float[Tensor, "B channels height width"],
        about: Mapping[str, Any],
        file: BinaryIO,
    ) -> None:
        """See ``Format.write``."""
        with torch.no_grad():
            sizes = {INPUT: {0: torch.export.Dim(BATCH)}}
            program = torch.export.export(network, (example,), dynamic_shapes=sizes)
        extra = {METADATA: json.dumps(about, ensure_ascii=False)}
        torch.export.save(program, cast("Any", file), extra_files=extra)

    def read(self, path: Path) -> Loaded:
        """See ``Format.read``."""
        extra: dict[str, Any] = {METADATA: ""}
        with path.open("rb") as file:  # of a path the end of the name must be .pt2
            program = torch.export.load(cast("Any", file), extra_files=extra)
        return Loaded(program.module(), json.loads(extra[METADATA]))


def _ignore_deprecation() -> None:
    """Ignore that TorchScript is deprecated: C++ programs without Python load nothing else."""
    warnings.filterwarnings("ignore", "`torch.jit.* is deprecated", DeprecationWarning)
