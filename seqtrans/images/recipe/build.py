"""The composition root of image classifiers: what a recipe describes, put together; and loaded."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from seqtrans.errors import CheckpointError
from seqtrans.images.data.batches import ImageEpochs
from seqtrans.images.models.build import ImageModelConfig, build_image_model
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.keras import KerasConfig
from seqtrans.images.models.perceptron import PerceptronConfig
from seqtrans.images.models.timm import TimmConfig
from seqtrans.images.models.user_function import builder_file
from seqtrans.images.recipe.load_data import ImageFacts, ImageSets, stored_facts
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.images.task import ClassificationTask, to_model_memory_format
from seqtrans.training.checkpoints.find import find_checkpoint, stored_recipe_of
from seqtrans.training.checkpoints.format import read_inference_weights
from seqtrans.training.checkpoints.run_directory import RunDirectory, open_run
from seqtrans.training.checkpoints.weights import fill


@dataclass(frozen=True)
class Classifier:
    """A classifier that was trained, with all that belongs to it."""

    recipe: ClassificationRecipe
    facts: ImageFacts
    model: nn.Module  # in evaluation mode, on the CPU
    checkpoint: Path  # where the weights are from


def build_classification(
    recipe: ClassificationRecipe, sets: ImageSets, model: nn.Module, processes: int = 1
) -> ClassificationTask:
    """Build the training task of a recipe, to be shared by ``processes``.

    Images get the memory format that is fastest for ``model``.
    """
    train, validation = (
        to_model_memory_format(images, model) for images in (sets.train, sets.validation)
    )
    return ClassificationTask(
        train=ImageEpochs(
            train,
            int(recipe.data.batch_size),
            recipe.training.seed,
            sets.facts.normalisation,
            recipe.data.augmentation,
            recipe.data.resize,
        ),
        validation=validation,
        accumulate=recipe.training.micro_batches(processes),
        label_smoothing=recipe.label_smoothing,
        auxiliary=recipe.auxiliary,
        has_probabilities=recipe.has_probabilities,
    )


def load_classifier(path: Path, checkpoint: str = "best") -> Classifier:
    """Load the model of a run directory; nothing outside the directory is read.

    A perceptron, which answers by a step, gives its logits here: their largest is the same class.

    Args:
        path: The run directory.
        checkpoint: See ``load_run``.

    Raises:
        CheckpointError: The run or the checkpoint is missing or damaged, or is no classifier.
        RecipeError: The run's recipe was altered into something invalid.
    """
    run = open_run(path)
    recipe = stored_recipe_of(ClassificationRecipe, "classification", run)
    facts = known_facts(run)
    chosen = find_checkpoint(run, checkpoint)
    weights = read_inference_weights(chosen)
    config = recipe.model
    if isinstance(config, PerceptronConfig):
        config = replace(config, output="logits")
    image = facts.input_shape(recipe.data.resize)
    model = build_untrained(config, image, len(facts.classes), run)
    fill(model, weights, str(chosen))
    return Classifier(recipe, facts, model.eval(), chosen)


def known_facts(run: RunDirectory) -> ImageFacts:
    """Return what a run has stored about its images.

    Raises:
        CheckpointError: Nothing is stored yet, or it is damaged.
    """
    facts = stored_facts(run)
    if facts is None:
        raise CheckpointError(f"{run.path} has no data about its images yet: train it first")
    return facts


def build_untrained(
    config: ImageModelConfig, image: ImageShape, num_classes: int, run: RunDirectory
) -> nn.Module:
    """Build a run's model, to be filled with weights; nothing is downloaded.

    Raises:
        RecipeError: It can't be built.
    """
    if isinstance(config, TimmConfig):
        config = replace(config, pretrained=False)
    return build_image_model(config, image, num_classes, run.path)


def builder_files(recipe: ClassificationRecipe, folder: Path) -> dict[str, bytes]:
    """Return the file of a Keras model's function, which a run keeps, if beside the recipe.

    Training and all later use run the copy, so that no later change of the file matters.
    """
    model = recipe.model
    file = builder_file(model.build, folder) if isinstance(model, KerasConfig) else None
    return {file.name: file.read_bytes()} if file else {}
