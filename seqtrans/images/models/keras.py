"""A Keras 3 model as a torch module: the one wrapper of Keras, by the extra ``keras``.

Keras computes with torch here, so autocast, optimizers and checkpoints see plain tensors.
"""

import os
import random
import re
import sys
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from seqtrans.errors import RecipeError
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.user_function import error_summary, find_builder
from seqtrans.nn.kernels.conv_stride_guard import GuardedStrides
from seqtrans.tensor_types import Float, Tensor

_BUILD = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_SEED_STATE = "seed_generator_state"  # Keras's name for what a layer draws its numbers from
_SEEDS = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class KerasConfig:
    """A Keras 3 model, trained as any other; needs ``pip install 'seqtrans[keras]'``.

    What the recipe names is run: by training, and whenever the run is used. So use recipes and
    runs with such a model only of people whose programs you would run.
    """

    kind: Literal["keras"] = "keras"
    build: str
    """``module:function``. The module is a file beside the recipe, of which the run keeps a copy
    to be used from then on, or else one that Python can import. The function takes the shape of
    an image (height, width, channels), the number of classes and ``arguments``, and returns a
    ``keras.Model`` that gives logits."""
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    """What else the function takes, by name."""

    def __post_init__(self) -> None:
        """Refuse what names no function."""
        if not _BUILD.fullmatch(self.build):
            raise ValueError(f"build must be module:function, not '{self.build}'")


class KerasModel(nn.Module):
    """A Keras model, images to logits.

    Parameters are what Keras trains, buffers what it keeps otherwise, such as the mean and the
    variance of a batch normalisation. Both go by Keras's names: ``conv2d_1/kernel``. In training,
    all random numbers, also those of layers with a seed of their own, come from torch's global
    generator, so no state of them is kept.

    Args:
        model: A built ``keras.Model`` for images with the channels last, on the CPU.
        keras: The library.
    """

    def __init__(self, model: Any, keras: Any) -> None:
        super().__init__()
        # In a tuple, as it is a module, too, and its tensors would be listed twice.
        self._held = (model, keras)
        self._seeds: list[Tensor] = []
        for name, variable in _named(model).items():
            if variable.trainable:
                self.register_parameter(name, variable.value)
            else:
                is_seed = variable.name == _SEED_STATE
                self.register_buffer(name, variable.value, persistent=not is_seed)
                self._seeds += [variable.value] if is_seed else []

    @property
    def keras_model(self) -> Any:
        """The ``keras.Model``, which shares its memory with this module."""
        return self._held[0]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Floating point tensors by name, detached, in the order of Keras's layers."""
        tensors = self.state_dict()
        return {
            n: tensors[n]
            for n in _named(self.keras_model)
            if n in tensors and tensors[n].is_floating_point()
        }

    @property
    def last_layer(self) -> tuple[str, ...]:
        """Names of the last layer's parameters."""
        names = [name for name, _ in self.named_parameters()]
        layer = names[-1].rpartition("/")[0]
        return tuple(name for name in names if name.rpartition("/")[0] == layer)

    def forward(
        self, images: Float[Tensor, "B channels height width"]
    ) -> Float[Tensor, "B classes"]:
        """Compute the logits of every image."""
        model, keras = self._held
        x = images.permute(0, 2, 3, 1)
        with keras.device(str(images.device)):
            if not self.training:
                return model(x, training=False)
            with seeded(keras), GuardedStrides():
                for state in self._seeds:
                    state[0] = torch.randint(_SEEDS, ())
                    state[1] = 0
                return model(x, training=True)

    def drop_seeds(self) -> None:
        """Remove the states of random generators, which are needed only for training.

        Exporters take them for constants, and that of ONNX fails on them.
        """
        self._seeds = []
        for name, _ in list(self.named_buffers()):
            if name in self._non_persistent_buffers_set:
                delattr(self, name)

    def other_formats(self) -> Mapping[str, Callable[[Path], None]]:
        """See ``protocols.SavesOtherwise``: ``load_weights`` of the Keras model reads it."""
        return {"model.weights.h5": partial(_save, self.keras_model)}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "KerasModel":  # noqa: FBT001, FBT002 - torch's
        """Keep the tensors that Keras holds when the module moves to a device.

        Torch keeps parameters, but would replace buffers.
        """
        tensors = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, buffer in tensors.items():
            buffer.data = self.get_buffer(name).data
            self._buffers[name] = buffer
        return self


def build_keras_model(
    config: KerasConfig, image: ImageShape, num_classes: int, folder: Path | None
) -> KerasModel:
    """Call the function that a recipe names, and try the model on images.

    Args:
        config: Name and arguments of the function.
        image: Size of an image.
        num_classes: Number of logits.
        folder: Folder of the function's file; None: it is on Python's path.

    Raises:
        RecipeError: Keras is not installed or uses another backend, there is no such function, or
            its model can't be used here.
    """
    keras = _keras()
    build = find_builder(config.build, folder)
    shape = (image.height, image.width, image.channels)
    # A user's settings must not change the meaning of a recipe, and names must count from the
    # first layer.
    keras.utils.clear_session(free_memory=False)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    with keras.device("cpu"), seeded(keras):
        try:
            model = build(shape, num_classes, **config.arguments)
        except Exception as error:
            raise RecipeError(
                f"model.build: {config.build} failed: {error_summary(error)}"
            ) from error
        if not isinstance(model, keras.Model):
            raise RecipeError(
                f"model.build: {config.build} must return a keras.Model, not {type(model).__name__}"
            )
        if complaint := _complaint(model, image, num_classes):
            raise RecipeError(f"model.build: the model of {config.build} {complaint}")
    return KerasModel(model, keras)


@contextmanager
def seeded(keras: Any) -> Generator[None]:
    """Seed all generators that Keras uses from torch's global generator, within this context."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(int(torch.randint(_SEEDS, ())))
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def _keras() -> Any:
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        import keras  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
    except ImportError as error:
        raise RecipeError(
            f"models of Keras need pip install 'seqtrans[keras]': {error_summary(error)}"
        ) from error
    if not hasattr(keras, "config") or keras.config.backend() != "torch":
        raise RecipeError(
            "Keras was imported before, and not as Keras 3 with the backend 'torch': set the "
            "environment variable KERAS_BACKEND=torch for this program"
        )
    return keras


def _named(model: Any) -> dict[str, Any]:
    """Return the variables of a model by readable, unique names, in order."""
    named: dict[str, Any] = {}
    for variable in model.variables:
        path = variable.path.replace(".", "_")
        short = path.removeprefix(f"{model.name}/")
        name = unique = short if "/" in short else path
        count = 1
        while unique in named:
            count += 1
            unique = f"{name}_{count}"
        named[unique] = variable
    return named


def _complaint(model: Any, image: ImageShape, num_classes: int) -> str:
    """Try a model on images and return what is wrong with it; empty if nothing."""
    pixels = 2 * image.channels * image.height * image.width
    images = torch.linspace(-1, 1, pixels).view(2, image.height, image.width, image.channels)
    try:
        with torch.no_grad():
            logits = model(images, training=False)
    except Exception as error:
        return f"fails on these images: {error_summary(error)}"
    if not isinstance(logits, Tensor) or logits.shape != (2, num_classes):
        shape = tuple(logits.shape[1:]) if isinstance(logits, Tensor) else type(logits).__name__
        return f"must give {num_classes} logits for every image, not {shape}"
    total = logits.float().sum(1)
    if logits.min() >= 0 and torch.allclose(total, torch.ones(2), atol=1e-3):
        return "gives probabilities; it must give logits: leave out the softmax"
    if model.losses:
        return "has a regularizer, which this trainer does not apply: use weight_decay"
    if any(variable.constraint for variable in model.trainable_variables):
        return "has a constraint on weights, which this trainer does not apply: leave it out"
    return "" if model.trainable_variables else "has nothing to train"


def _save(model: Any, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, for Keras's authors
            model.save_weights(path)
    except (RuntimeError, ValueError) as error:  # how h5py reports what the system said
        raise OSError(error_summary(error)) from error
