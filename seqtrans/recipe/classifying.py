"""Classifiers from anywhere, ready for image files: runs, weights of others, names of timm."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from seqtrans.data.images.folder import FolderFiles
from seqtrans.data.images.normalisation import normalise
from seqtrans.data.images.pillow import Fitting, UnreadableImageError, decode
from seqtrans.data.images.preprocess import read_prepared
from seqtrans.data.images.resizing import resize
from seqtrans.errors import CheckpointError, DataError
from seqtrans.models.images.pretrained import class_names, load_pretrained, timm_input
from seqtrans.models.images.published import InputSpec, build_network
from seqtrans.models.images.shape import ImageShape
from seqtrans.models.images.timm_model import timm_pretrained
from seqtrans.recipe.classification import Classifier, load_classifier
from seqtrans.shapes import Float, Tensor
from seqtrans.training.weights import fill


@dataclass(frozen=True)
class ReadyClassifier:
    """A model and what it takes to show it image files.

    Attributes:
        model: Images to logits, in evaluation mode, on the CPU.
        classes: Name of every logit.
        read: An image file as the model wants it.
    """

    model: nn.Module
    classes: tuple[str, ...]
    read: Callable[[Path], Float[Tensor, "channels height width"]]

    @torch.inference_mode()
    def probabilities(self, path: Path) -> Float[Tensor, " classes"]:
        """The probability of every class for an image file, in fp32.

        Raises:
            DataError: The file can't be read as an image.
        """
        return self.model(self.read(path)[None])[0].float().softmax(dim=0)


def open_classifier(name: str, checkpoint: str | None = None) -> ReadyClassifier:
    """Find and load a classifier.

    Args:
        name: A run directory, a file of weights, a folder as on Hugging Face, or a name of timm.
        checkpoint: Which of a run; see ``load_run``. None: the best.

    Raises:
        CheckpointError: There is no such thing, or it is damaged; or what has no checkpoints is
            asked for one.
        RecipeError: timm is needed and not installed, or has no such network.
    """
    path = Path(name)
    if (path / "recipe.yaml").is_file():
        return _of_run(load_classifier(path, checkpoint or "best"))
    if checkpoint:
        raise CheckpointError(f"{name} is no run: only a run has a checkpoint '{checkpoint}'")
    if path.exists():
        found = load_pretrained(path)
        image = ImageShape(3, found.input.size, found.input.size)
        model = build_network(found.config, image, len(found.classes))
        fill(model, found.weights, name)
        return ReadyClassifier(model.eval(), found.classes, _reader(found.input))
    if path.suffix in (".safetensors", ".pth", ".pt", ".bin") or path != Path(path.name):
        raise CheckpointError(f"{name}: there is no such run, file or folder")
    model, about = timm_pretrained(name)
    count = int(about["num_classes"])
    return ReadyClassifier(model.eval(), class_names(count), _reader(timm_input(about)))


def _of_run(found: Classifier) -> ReadyClassifier:
    channels, height, width = found.facts.shape
    files = found.recipe.data.train
    fitting: Fitting = Fitting(channels=1 if channels == 1 else 3, height=height, width=width)
    if isinstance(files, FolderFiles) and files.height is not None:
        fitting = replace(
            fitting, fit=files.fit, crop=files.crop, resample=files.resample
        )  # as the training images were made

    def read(path: Path) -> Float[Tensor, "channels height width"]:
        try:
            pixels = decode(path, fitting)
        except UnreadableImageError as error:
            raise DataError(f"{path}: no image that can be read: {error}") from error
        seen = resize(torch.from_numpy(pixels)[None], found.recipe.data.resize)
        return normalise(seen, found.facts.normalisation)[0]

    return ReadyClassifier(found.model, found.facts.classes, read)


def _reader(spec: InputSpec) -> Callable[[Path], Float[Tensor, "3 size size"]]:
    return partial(
        read_prepared,
        size=spec.size,
        crop=spec.crop,
        interpolation=spec.interpolation,
        mean=spec.mean,
        std=spec.std,
    )
