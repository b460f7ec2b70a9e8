"""ONNX: the one wrapper of onnxscript, which writes it, and onnxruntime, which runs it."""

import json
import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from seqtrans.errors import ExportError
from seqtrans.images.export.torch_formats import BATCH, INPUT, OUTPUT, Loaded
from seqtrans.tensor_types import Float, Tensor


class Onnx:
    """One file, weights included; see ``Format``.

    What is stored with the network is in its metadata, each value as JSON.

    Raises:
        ExportError: The extra ``onnx`` is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports]

            # Torch's exporter needs it.
            import onnxscript  # noqa: F401 # pyright: ignore[reportMissingImports, reportUnusedImport]
        except ImportError as error:
            raise ExportError(f"ONNX needs pip install 'seqtrans[onnx]': {error}") from error
        self._runtime: Any = onnxruntime

    def write(
        self,
        network: nn.Module,
        example: Float[Tensor, "B channels height width"],
        about: Mapping[str, Any],
        file: BinaryIO,
    ) -> None:
        """See ``Format.write``."""
        with _quietly(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={INPUT: {0: torch.export.Dim(BATCH)}},
                verbose=False,
            )
        if program is None:  # as of the older exporter, which writes files itself
            raise RuntimeError("the exporter returned nothing")
        for name, value in about.items():
            program.model.metadata_props[name] = json.dumps(value, ensure_ascii=False)
        file.write(program.model_proto.SerializeToString())

    def read(self, path: Path) -> Loaded:
        """See ``Format.read``."""
        session = self._runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        stored: dict[str, str] = session.get_modelmeta().custom_metadata_map

        def logits(images: Tensor) -> Tensor:
            return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

        return Loaded(logits, {name: json.loads(text) for name, text in stored.items()})


@contextmanager
def _quietly() -> Generator[None]:
    """Silence messages of torch's exporter about torchvision, which is not needed, and itself."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
