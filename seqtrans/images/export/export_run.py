"""Export the classifier of a run, checked against the original model on images."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from seqtrans import config
from seqtrans.errors import CheckpointError, SeqtransError
from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.data.resize import resize
from seqtrans.images.export.pixel_classifier import Contract, PixelClassifier
from seqtrans.images.export.verify import SUFFIXES, FormatName, Sample, open_format, write_checked
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.inception_v3 import InceptionV3
from seqtrans.images.models.keras import KerasModel
from seqtrans.images.recipe.build import Classifier, load_classifier
from seqtrans.images.recipe.load_data import read_like
from seqtrans.images.recipe.schema import FractionConfig
from seqtrans.images.task import classify, to_model_memory_format
from seqtrans.tensor_types import Tensor, UInt8
from seqtrans.training.checkpoints.run_directory import open_run

logger = logging.getLogger(__name__)

RANDOM_BATCHES = (1, 3)  # the example that is traced has 2 images
REAL_IMAGES = 64
AT_ONCE = 8


def export_run(
    path: Path, name: FormatName, output: Path | None = None, checkpoint: str = "best"
) -> Path:
    """Export the classifier of a run; the file is written only after a check.

    It must answer as the model does, within ``TOLERANCE``, to random images and to up to 64 of
    the run's test images; without those, of its validation or its training images; without any, a
    warning says so.

    Args:
        path: The run directory.
        name: Kind of the file.
        output: The file; None: ``model`` and the usual suffix, in the run directory.
        checkpoint: See ``load_run``.

    Returns:
        The file.

    Raises:
        CheckpointError: The run or the checkpoint is missing or damaged, or is no classifier.
        ExportError: The model can't be exported so, or the file answers otherwise than the model.
        RecipeError: The run's recipe was altered into something invalid.
    """
    form = open_format(name)
    task = config.read(open_run(path).recipe).get(
        "task", "translation"
    )  # which recipes need not say
    if task != "classification":
        raise CheckpointError(
            f"{path} is a run of task '{task}': only image classifiers can be exported to this "
            "format; use --format run"
        )
    classifier = load_classifier(path, checkpoint)
    if isinstance(classifier.model, InceptionV3):
        classifier.model.drop_auxiliary()  # a tenth of the file, which nobody would use
    elif isinstance(classifier.model, KerasModel):
        classifier.model.drop_seeds()
    contract = _contract(classifier)
    samples = [*_random(classifier), *_real(classifier)]
    file = output or path / f"model{SUFFIXES[name]}"
    difference = write_checked(
        PixelClassifier(classifier.model, contract), contract, form, file, samples
    )
    logger.info(
        "%s: answers like checkpoint %s on %d images; logits differ by at most %.1g",
        file,
        classifier.checkpoint.name,
        sum(len(sample.images) for sample in samples),
        difference,
    )
    return file


def _contract(classifier: Classifier) -> Contract:
    channels, height, width = _input_shape(classifier)
    return Contract(
        classes=classifier.facts.classes,
        channels=channels,
        height=height,
        width=width,
        mean=classifier.facts.normalisation.mean,
        std=classifier.facts.normalisation.std,
        model=classifier.recipe.model.kind,
        checkpoint=classifier.checkpoint.name,
    )


def _input_shape(classifier: Classifier) -> ImageShape:
    return classifier.facts.input_shape(classifier.recipe.data.resize)


def _random(classifier: Classifier) -> Iterator[Sample]:
    generator = torch.Generator().manual_seed(0)
    for size in RANDOM_BATCHES:
        shape = (size, *_input_shape(classifier))
        pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        yield _sample("random images", pixels, classifier)


def _real(classifier: Classifier) -> Iterator[Sample]:
    """Yield evenly spaced images of the first readable set, as sets are often sorted."""
    data = classifier.recipe.data
    problem: SeqtransError | None = None
    for name, files in (
        ("test", data.test),
        ("validation", data.validation),
        ("training", data.train),
    ):
        if files is None or isinstance(files, FractionConfig):
            continue
        try:
            images = read_like(files, classifier.facts, name)
        except SeqtransError as error:
            problem = problem or error
            continue
        count = min(REAL_IMAGES, len(images))
        chosen = images.take(np.linspace(0, len(images) - 1, count).astype(np.int64))
        for pixels in chosen.images.split(AT_ONCE):
            resized = resize(pixels, classifier.recipe.data.resize)
            yield _sample(f"{name} images", resized, classifier)
        return
    logger.warning("checked on random images only, as the run's can't be read: %s", problem)


@torch.inference_mode()
def _sample(
    name: str, pixels: UInt8[Tensor, "B channels height width"], classifier: Classifier
) -> Sample:
    """Compute the expected logits of ``pixels``, which have the size of the model's input."""
    labels = torch.zeros(len(pixels), dtype=torch.int64)
    images = to_model_memory_format(
        ImageSet(pixels, labels, classifier.facts.classes), classifier.model
    )
    return Sample(name, pixels, classify(classifier.model, images, classifier.facts.normalisation))
