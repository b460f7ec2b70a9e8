"""Classifiers from anywhere, ready for image files: runs, weights of others, names of timm."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn

from seqtrans.errors import CheckpointError, DataError
from seqtrans.images.data.image_files import KINDS, Fitting, UnreadableImageError, decode
from seqtrans.images.data.inference_transform import read_prepared
from seqtrans.images.data.normalize import normalize
from seqtrans.images.data.readers.folder import FolderFiles
from seqtrans.images.data.readers.listing import list_images, printable
from seqtrans.images.data.resize import resize
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.timm import timm_pretrained
from seqtrans.images.pretrained.load import class_names, load_pretrained, timm_input
from seqtrans.images.pretrained.zoo import build_network
from seqtrans.images.recipe.build import Classifier, load_classifier
from seqtrans.runtime.device import prepare_for_forks
from seqtrans.tensor_types import Float, Tensor
from seqtrans.training.checkpoints.weights import fill

logger = logging.getLogger(__name__)


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
    def probabilities(self, path: Path | str) -> Float[Tensor, " classes"]:
        """Compute the probability of every class for an image file, in fp32.

        Raises:
            DataError: The file can't be read as an image.
            TypeError: ``path`` is no path of one file.
        """
        given = cast("object", path)
        if not isinstance(given, str | Path):
            kind = type(given).__name__
            raise TypeError(f"probabilities takes the path of one image file, not {kind}")
        return self.model(self.read(Path(path))[None])[0].float().softmax(dim=0)


def open_classifier(name: str | Path, checkpoint: str | None = None) -> ReadyClassifier:
    """Find and load a classifier.

    Args:
        name: A run directory, a file of weights, a folder as on Hugging Face, or a name of timm.
        checkpoint: Which of a run; see ``load_run``. None: the best.

    Raises:
        CheckpointError: There is no such thing, or it is damaged; or what has no checkpoints is
            asked for one.
        RecipeError: timm is needed and not installed, or has no such network.
    """
    prepare_for_forks()
    path = Path(name)
    if (path / "recipe.yaml").is_file():
        return _from_run(load_classifier(path, checkpoint or "best"))
    if checkpoint:
        raise CheckpointError(f"{name} is not a run, so it has no checkpoint '{checkpoint}'")
    if path.exists():
        pretrained = load_pretrained(path)
        image = ImageShape(3, pretrained.input.size, pretrained.input.size)
        model = build_network(pretrained.config, image, len(pretrained.classes))
        fill(model, pretrained.weights, str(name))
        return ReadyClassifier(
            model.eval(), pretrained.classes, partial(read_prepared, spec=pretrained.input)
        )
    if path.suffix in (".safetensors", ".pth", ".pt", ".bin") or path != Path(path.name):
        raise CheckpointError(f"{name}: no such run, file or folder")
    model, about = timm_pretrained(str(name))
    count = int(about["num_classes"])
    return ReadyClassifier(
        model.eval(), class_names(count), partial(read_prepared, spec=timm_input(about))
    )


def images_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files of ``paths``, with each folder replaced by the images in it, recursively.

    Other files in folders are skipped, with a warning that names them.

    Raises:
        DataError: A folder can't be read, or has no images.
    """
    images = list[Path]()
    for path in paths:
        if not path.is_dir():
            images.append(path)
            continue
        listing = list_images(path)
        if listing.others:
            logger.warning(
                "%s: skipped, as only %s files are read: %s", printable(path), KINDS, listing
            )
        if not listing.images:
            raise DataError(f"{printable(path)}: no images in this folder; {KINDS} files are read")
        images += listing.images
    return images


def _from_run(classifier: Classifier) -> ReadyClassifier:
    channels, height, width = classifier.facts.shape
    if channels not in (1, 3):
        raise DataError(
            f"{classifier.checkpoint}: the model takes images of {channels} channels, but image "
            "files have 1 or 3: give arrays to an exported model (seqtrans export)"
        )
    files = classifier.recipe.data.train
    fitting: Fitting = Fitting(channels=1 if channels == 1 else 3, height=height, width=width)
    if isinstance(files, FolderFiles) and files.height is not None:
        fitting = replace(
            fitting, fit=files.fit, crop=files.crop, resample=files.resample
        )  # as the training images were made

    def read(path: Path) -> Float[Tensor, "channels height width"]:
        try:
            pixels = decode(path, fitting, classifier.facts.background)
        except UnreadableImageError as error:
            raise DataError(f"{printable(path)}: not a readable image: {error}") from error
        resized = resize(torch.from_numpy(pixels)[None], classifier.recipe.data.resize)
        return normalize(resized, classifier.facts.normalisation)[0]

    return ReadyClassifier(classifier.model, classifier.facts.classes, read)
