"""What a recipe of an image classifier may say."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from seqtrans.config.types import NonNegativeFloat, Positive, Probability, Size
from seqtrans.images.data.augment import AugmentConfig
from seqtrans.images.data.image_files import Rgb, color
from seqtrans.images.data.normalize import Normalization
from seqtrans.images.data.readers.read import ImageFiles
from seqtrans.images.data.resize import ResizeConfig
from seqtrans.images.models.build import ImageModelConfig
from seqtrans.images.models.inception_v3 import InceptionV3Config
from seqtrans.images.models.keras import KerasConfig
from seqtrans.images.models.perceptron import PerceptronConfig
from seqtrans.training.config import Expected, TrainingConfig
from seqtrans.training.optim.schedule import ConstantConfig, ScheduleConfig
from seqtrans.training.stopping import StoppingConfig


@dataclass(frozen=True, kw_only=True)
class ImageStoppingConfig(StoppingConfig):
    """Which metric decides, and how long to wait for it to improve."""

    metric: str = "accuracy"  # or loss; also says which checkpoints are the best


@dataclass(frozen=True, kw_only=True)
class ImageTrainingConfig(TrainingConfig):
    """How long and how carefully to train; what is usual for images where nothing is said.

    At least one limit must be given; the first that is reached ends the run.
    """

    schedule: ScheduleConfig = field(default_factory=ConstantConfig)
    stopping: ImageStoppingConfig = field(default_factory=ImageStoppingConfig)


@dataclass(frozen=True, kw_only=True)
class FractionConfig:
    """Training images set aside, of each class alike: the same ones whatever the seed."""

    kind: Literal["fraction"] = "fraction"
    fraction: Annotated[float, Gt(0.0), Lt(1.0)]
    """Their share of all."""


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig:
    """The images to learn from, and how they become batches."""

    train: ImageFiles
    """Images to learn from."""
    validation: ImageFiles | FractionConfig
    """Images to judge by while training, of their own or set aside from ``train``."""
    test: ImageFiles | None = None
    """Images to judge by at the end, by ``seqtrans evaluate``."""
    limit: Positive | None = None
    """Most images to learn from, of each class alike and the same ones whatever the seed, once
    those for validation are set aside; null: all."""
    resize: ResizeConfig | None = None
    """Another size for the model to see images at, in training and whenever it is used, made of
    each batch; null: their own."""
    normalisation: Normalization | None = None
    """Mean and deviation of every channel; null: measured on all of ``train``."""
    background: str | tuple[int, ...] = "white"
    """What shows where an image file is transparent: a color's name in CSS, ``"#rrggbb"``, or
    red, green and blue from 0 to 255."""
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    """How training images are changed at random."""
    batch_size: Size = 128
    """Images a micro-batch. ``auto``: the most that fit, measured before training, up to 128 on a
    CPU and 1,024 on a GPU, and up to a hundredth of an epoch; not with
    ``training.processes.sharding: full``."""

    def __post_init__(self) -> None:
        """Refuse a color that there is not."""
        _ = self.rgb

    @property
    def rgb(self) -> Rgb:
        """``background`` as red, green and blue."""
        match self.background:
            case str(name):
                return color(name)
            case (red, green, blue) if all(0 <= value <= 255 for value in (red, green, blue)):
                return red, green, blue
            case values:
                raise ValueError(
                    f"background {list(values)} is not a color: give red, green and blue from 0 "
                    "to 255"
                )


@dataclass(frozen=True, kw_only=True)
class ExpectedAccuracy(Expected):
    """What the recipe gave where it was measured; ``seqtrans reproduce`` compares with it."""

    metric: Literal["accuracy"] = "accuracy"
    """Metric of ``score``: the share of the test images, 0 to 1, that is classified rightly."""


@dataclass(frozen=True, kw_only=True)
class ClassificationRecipe:
    """Everything about one run of an image classifier. Paths are relative to the recipe's file."""

    task: Literal["classification"] = "classification"
    data: ImageDataConfig
    model: ImageModelConfig
    training: ImageTrainingConfig
    label_smoothing: Probability = 0.0
    """Share of the target distribution spread over all classes (arXiv:1512.00567, 7)."""
    auxiliary_weight: NonNegativeFloat = 0.3
    """Weight of the loss of the second classifier, where the model has one: ``inception_v3`` with
    ``auxiliary`` (arXiv:1409.4842, 5)."""
    init_from: Path | None = None
    """Weights to start from: a run of an image classifier (its best checkpoint), a file or a
    folder of weights of others; for ``keras`` also a file of Keras's (``.weights.h5``, ``.h5``,
    ``.keras``). The last layer starts anew where there are other classes."""
    expected: ExpectedAccuracy | None = None
    """What the recipe gave where it was measured; training ignores it."""

    def __post_init__(self) -> None:
        """Refuse to judge by what is not measured, and to share out what can't be."""
        self.training.refuse_unmeasured({"data.batch_size": self.data.batch_size})
        measured = ("loss", "accuracy") if self.has_probabilities else ("accuracy",)
        if self.training.stopping.metric not in measured:
            raise ValueError(
                f"training.stopping.metric '{self.training.stopping.metric}' is not measured: "
                f"validation gives {', '.join(measured)}"
            )
        if isinstance(self.model, KerasConfig) and self.training.processes.sharding == "full":
            raise ValueError(
                "training.processes.sharding full can't shard a keras model, whose layers keep "
                "references to its weights: use none"
            )

    @property
    def has_probabilities(self) -> bool:
        """Whether the model gives logits when it is used, or but the class."""
        return not (isinstance(self.model, PerceptronConfig) and self.model.output == "step")

    @property
    def auxiliary(self) -> float:
        """``auxiliary_weight`` where the model has a second classifier; else 0."""
        has_one = isinstance(self.model, InceptionV3Config) and self.model.auxiliary
        return self.auxiliary_weight if has_one else 0.0
