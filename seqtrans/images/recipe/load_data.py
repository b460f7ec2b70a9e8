"""The images of a recipe in memory, and what a run keeps of them."""

import logging
from dataclasses import dataclass
from pathlib import Path

from seqtrans import config
from seqtrans.errors import CheckpointError, DataError, RecipeError
from seqtrans.images.data.dataset import ImageSet, split
from seqtrans.images.data.image_files import WHITE, Rgb
from seqtrans.images.data.normalize import Normalization, measure
from seqtrans.images.data.readers.common import ReadReport
from seqtrans.images.data.readers.read import ImageFiles, read_images
from seqtrans.images.data.resize import ResizeConfig
from seqtrans.images.data.sanity_check import doubts
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.recipe.schema import FractionConfig, ImageDataConfig
from seqtrans.runtime.files.atomic_files import write_atomically
from seqtrans.training.checkpoints.run_directory import RunDirectory

logger = logging.getLogger(__name__)

SPLIT_SEED = 0
LIMIT_SEED = 1


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What a model was made for: with the recipe, all that using it needs."""

    classes: tuple[str, ...]
    """Names of the classes in the order of the logits."""
    shape: tuple[int, int, int]
    """Channels, height and width."""
    normalisation: Normalization
    """Mean and deviation of every channel of the training images."""
    background: Rgb | None = None
    """What shows where an image file is transparent. Null in runs that were begun before there was
    a background: whatever color the file has there; and of folders, only PNG and JPEG files that
    lie in a class folder itself."""

    def input_shape(self, resize: ResizeConfig | None) -> ImageShape:
        """Return the size of the model's input: ``shape``, or another height and width."""
        channels, height, width = self.shape
        return ImageShape(
            channels, resize.height if resize else height, resize.width if resize else width
        )


@dataclass(frozen=True)
class ImageSets:
    """What a run learns from and is judged by."""

    train: ImageSet
    validation: ImageSet
    facts: ImageFacts


def load_image_sets(data: ImageDataConfig, stored: ImageFacts | None) -> ImageSets:
    """Read the images of a recipe but those of the test, saying how many there are.

    Args:
        data: Where they are.
        stored: Stored by a run that is resumed; None: measured here.

    Raises:
        DataError: Images can't be read, or those of one set are unlike those of another.
        RecipeError: ``data`` contradicts the images.
    """
    background = stored.background if stored else data.rgb
    if data.rgb != (background or WHITE):
        began = list(background) if background else "none (it is older than this key)"
        raise RecipeError(
            f"data.background is {data.background}, but this run began with {began}: "
            "restore it, or start a new run"
        )
    train, report = read_images(data.train, stored.classes if stored else None, background)
    _log_report("training", report, train)
    facts = stored or _facts(data, train)
    _check_shape(train, facts, "training")
    _check_augmentation(data, facts)
    if isinstance(data.validation, FractionConfig):
        try:
            train, validation = split(train, data.validation.fraction, SPLIT_SEED)
        except ValueError as error:
            raise RecipeError(f"data.validation: {error}") from error
        logger.info("validation: %s of these", f"{len(validation):,}")
    else:
        validation = read_like(data.validation, facts, "validation")
    train = _limited(train, data.limit)
    for name, images in (("training", train), ("validation", validation)):
        _warn_absent(name, images)
    return ImageSets(train, validation, facts)


def _limited(train: ImageSet, limit: int | None) -> ImageSet:
    """Limit the number of images, in proportion to the classes."""
    if limit is None or limit >= len(train):
        return train
    _, limited = split(train, limit / len(train), LIMIT_SEED)
    logger.info("learning from %s of these", f"{len(limited):,}")
    return limited


def read_like(files: ImageFiles, facts: ImageFacts, name: str) -> ImageSet:
    """Read images of the classes and the shape of those that a model learnt from.

    Raises:
        DataError: They can't be read, or have others.
    """
    images, report = read_images(files, facts.classes, facts.background)
    _log_report(name, report, images)
    if images.classes != facts.classes:
        raise DataError(
            f"the {name} images have the classes {_listed(images.classes)}, but the training "
            f"images have {_listed(facts.classes)}"
        )
    _check_shape(images, facts, name)
    return images


def facts_file(run: RunDirectory) -> Path:
    """Return the file in which a run stores its ``ImageFacts``."""
    return run.vocabulary / "images.yaml"


def stored_facts(run: RunDirectory) -> ImageFacts | None:
    """Read what a run has stored about its images; None if nothing yet.

    Raises:
        CheckpointError: It is damaged.
    """
    file = facts_file(run)
    if not file.exists():
        return None
    try:
        return config.load(ImageFacts, file)
    except RecipeError as error:
        raise CheckpointError(str(error)) from error


def store_facts(run: RunDirectory, facts: ImageFacts) -> None:
    """Store what using a model needs."""
    write_atomically(facts_file(run), config.dump(facts))


def _facts(data: ImageDataConfig, train: ImageSet) -> ImageFacts:
    if len(train.classes) < 2:
        raise DataError(
            f"the training images have only one class, {_listed(train.classes)}; at least two are "
            "needed"
        )
    channels, height, width = train.images.shape[1:]
    given = data.normalisation
    if given and len(given.mean) not in (1, channels):
        raise RecipeError(
            f"data.normalisation has {len(given.mean)} channels, but the images have {channels}"
        )
    normalisation = given or measure(train.images)
    return ImageFacts(
        classes=train.classes,
        shape=(channels, height, width),
        normalisation=normalisation,
        background=data.rgb,
    )


def _log_report(name: str, report: ReadReport, images: ImageSet) -> None:
    """Log what was read, what was skipped, and what looks like a mistake."""
    logger.info("%s: %s", name, report)
    for warning in (*report.warnings, *doubts(images)):
        logger.warning("%s: %s", name, warning)


def _warn_absent(name: str, images: ImageSet) -> None:
    counts = images.labels.bincount(minlength=len(images.classes))
    absent = [images.classes[number] for number in (counts == 0).nonzero().flatten().tolist()]
    if absent:
        hint = "; labels start at 0" if absent[0] == "0" == images.classes[0] else ""
        logger.warning("%s: no images of class %s%s", name, _listed(tuple(absent)), hint)


def _check_augmentation(data: ImageDataConfig, facts: ImageFacts) -> None:
    """Refuse augmentation that could crop or cut out a complete image."""
    _, height, width = facts.shape
    image = facts.input_shape(data.resize)
    for name, most in (
        ("pad_crop", min(height, width) - 1),
        ("cutout", min(image.height, image.width)),
    ):
        if getattr(data.augmentation, name) > most:
            raise RecipeError(
                f"data.augmentation.{name} must be {most} or less for images of {height} x {width} "
                "pixels"
            )


def _check_shape(images: ImageSet, facts: ImageFacts, name: str) -> None:
    shape = tuple(images.images.shape[1:])
    if shape != facts.shape:
        actual, expected = (" x ".join(map(str, sizes)) for sizes in (shape, facts.shape))
        raise DataError(
            f"the {name} images are {actual} (channels, height, width), but the model takes "
            f"{expected}"
        )


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:5]) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
