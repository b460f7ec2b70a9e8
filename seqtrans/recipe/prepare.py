"""All that has to be there before the first step, and checks of it that take seconds."""

import logging
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from seqtrans.images.models.build import build_image_model
from seqtrans.images.recipe.build import build_classification
from seqtrans.images.recipe.load_data import load_image_sets, store_facts, stored_facts
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.images.task import ClassificationTask
from seqtrans.protocols import ProcessGroup, Task
from seqtrans.recipe.auto_batch_size import (
    resolve_classification_sizes,
    resolve_translation_sizes,
    store_resolved,
)
from seqtrans.recipe.init_from import copy_vocabulary, start_classifier_from, start_from
from seqtrans.recipe.load import Recipe, dotted, paths_of
from seqtrans.recipe.provenance import (
    classification_order,
    classification_origins,
    refuse_changes,
    translation_origins,
)
from seqtrans.runtime.out_of_memory import enough_memory
from seqtrans.runtime.precision import substitution
from seqtrans.training.checkpoints.provenance import Origins
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.process_group import SINGLE_PROCESS, TorchProcessGroup
from seqtrans.training.distributed.sharded_tensors import in_parts
from seqtrans.training.distributed.wrappers import shard_weights, shares_out, unshard_for_inference
from seqtrans.training.oom.size_limits import MicroBatchSizeLimits
from seqtrans.training.optim.schedule_advice import warn_of_rates
from seqtrans.training.preflight import check_room, check_used, try_largest_batch
from seqtrans.training.reporting.loggers import silent
from seqtrans.translation.evaluation.metrics import signatures
from seqtrans.translation.recipe.build import build_model, build_task, prepare_segmenters
from seqtrans.translation.recipe.load_data import (
    check_metrics,
    check_vocabulary,
    load_corpora,
    say_changes,
)
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.task import TranslationTask
from seqtrans.translation.tokenization.segmenters import Segmenters

logger = logging.getLogger(__name__)

REHEARSED_SENTENCES = 8
TOO_LARGE = "the model does not fit into memory; make it smaller"
NEVER_WHOLE = (
    "memory can't hold the whole model, as every process must to decode for a validation; make it "
    "smaller, or set validation.metrics: [] and training.stopping.metric: perplexity"
)


@dataclass(frozen=True)
class Prepared:
    """What a trainer needs."""

    task: Task[Any]
    model: nn.Module  # on the device where it shall learn, shared out where that is wanted
    origins: Origins


def prepare(
    recipe: Recipe,
    run: RunDirectory,
    group: ProcessGroup,
    training: TorchProcessGroup = SINGLE_PROCESS,
) -> Prepared:
    """Make or load everything that a recipe describes, saying what was found.

    Of several processes the first makes what a run keeps of its data, and warns of what all see.

    Args:
        recipe: What is to be done.
        run: Where.
        group: This process, which may wait for long.
        training: The same as it will train. Without it weights are left for the trainer to share
            out, and are whole until then.

    Raises:
        SeqtransError: Anything that the user can mend.
    """
    with nullcontext() if group.rank == 0 else silent():
        if isinstance(recipe, TranslationRecipe):
            return _prepare_translation(recipe, run, group, training)
        return _prepare_classification(recipe, run, group, training)


def _prepare_translation(
    recipe: TranslationRecipe, run: RunDirectory, group: ProcessGroup, training: TorchProcessGroup
) -> Prepared:
    refuse_changes(run, translation_origins(recipe), _files(recipe))
    signatures(recipe.validation.measure)  # seen before there is anything to wait for
    if group.rank == 0:
        _make_vocabulary(recipe, run)
    group.sum([0.0])  # the others wait for the vocabulary
    segmenters = prepare_segmenters(recipe, run)
    logger.info("vocabulary: %s", _sizes(segmenters))
    cache = recipe.data.cache or run.path.parent / ".seqtrans-cache"
    corpora = load_corpora(recipe.data, segmenters, cache)
    check_vocabulary(corpora, segmenters)
    if group.rank == 0:
        say_changes(recipe.data, corpora, segmenters)
        check_metrics(recipe.validation.measure, corpora.references)
    torch.manual_seed(recipe.training.seed)
    with enough_memory(lambda: TOO_LARGE):
        model = build_model(recipe.model, segmenters)
    device = _say_model(model, recipe.training)
    if recipe.origin:
        logger.info("%s", start_from(recipe.origin, model, segmenters))
    _place(model, device, recipe.training, group, training)
    settled = resolve_translation_sizes(recipe, segmenters, corpora, model, group)
    _keep(settled, recipe, run, group)
    task = build_task(settled, segmenters, corpora, group.world_size)
    return Prepared(task, model, translation_origins(settled))


def _prepare_classification(
    recipe: ClassificationRecipe,
    run: RunDirectory,
    group: ProcessGroup,
    training: TorchProcessGroup,
) -> Prepared:
    stored = stored_facts(run)
    group.sum([0.0])  # all have looked before the first writes
    sets = load_image_sets(recipe.data, stored)
    origins = classification_origins(recipe, sets)
    refuse_changes(run, origins, _files(recipe))
    if stored is None and group.rank == 0:
        store_facts(run, sets.facts)
    torch.manual_seed(recipe.training.seed)
    image = sets.facts.seen(recipe.data.resize)
    with enough_memory(lambda: TOO_LARGE):
        model = build_image_model(recipe.model, image, len(sets.facts.classes), run.path)
    device = _say_model(model, recipe.training)
    if recipe.init_from:
        logger.info("%s", start_classifier_from(recipe.init_from, model, sets.facts))
    _place(model, device, recipe.training, group, training)
    settled = resolve_classification_sizes(recipe, sets, model, group)
    _keep(settled, recipe, run, group)
    task = build_classification(settled, sets, model, group.world_size)
    # Settling decides on a size alone: the images need not be hashed again.
    return Prepared(task, model, replace(origins, order=classification_order(settled)))


def _files(recipe: Recipe) -> dict[str, str]:
    """What a recipe names, by key; the images to learn from by the one key that stands for all."""
    named = {dotted(key): str(file) for key, file in paths_of(recipe).items()}
    images = [file for key, file in named.items() if key.startswith("data.train.")]
    return {"data.train": " and ".join(images), **named}


def _place(
    model: nn.Module,
    device: torch.device,
    config: TrainingConfig,
    group: ProcessGroup,
    training: TorchProcessGroup,
) -> None:
    """Bring a model to where it shall learn: all of it, or this process's parts alone."""
    with enough_memory(lambda: TOO_LARGE):
        if not shares_out(config.processes, training):
            model.to(device)
            return
        shard_weights(model, config.processes, training, device)
    logger.info("weights: shared out to %d processes", training.world_size)
    group.sum([0.0])  # from here on processes wait for each other, and no longer patiently


def _keep(settled: Recipe, recipe: Recipe, run: RunDirectory, group: ProcessGroup) -> None:
    if settled != recipe and group.rank == 0:
        store_resolved(run, settled)


def check(
    prepared: Prepared,
    recipe: Recipe,
    run: RunDirectory,
    group: ProcessGroup = SINGLE_PROCESS,
    training: TorchProcessGroup = SINGLE_PROCESS,
) -> None:
    """Try once what training will do for hours: its largest batch, decoding, saving.

    Of several processes every one must call it. If memory runs out in one while weights are shared
    out, the others wait for it in vain, as in training. For the arguments see ``prepare``.

    Raises:
        TrainingError: Memory or room on the disk will not do, or several processes can't train a
            part of the model.
    """
    task, model = prepared.task, prepared.model
    if group.rank == 0 and isinstance(task, TranslationTask | ClassificationTask):
        warn_of_rates(recipe.training, task.updates_in_epoch, logger.warning)
    check_room(run, model, recipe.training)
    sizes = MicroBatchSizeLimits(run.sizes)
    sizes.read(group)  # here all have come, and wait no longer for long
    largest = try_largest_batch(task, model, recipe.training, training, sizes, _step_of(run))
    logger.info(
        "largest batch: %s %s in %.2f s, %s MB",
        f"{largest.targets:,}",
        task.unit,
        largest.seconds,
        f"{largest.memory / 1e6:,.0f}",
    )
    check_used(largest.unused, group.world_size)
    if largest.fitting < largest.targets:
        logger.warning(
            "only %s of them fit into memory at once: what is larger will be computed in parts",
            f"{largest.fitting:,}",
        )
    if isinstance(task, TranslationTask):
        with _as_validated(model, training, searches=task.searches):
            _rehearse(task, model)


@contextmanager
def _as_validated(model: nn.Module, group: TorchProcessGroup, *, searches: bool) -> Generator[None]:
    """Within, all that validation needs of a model is here, if weights are shared out."""
    if not in_parts(model):
        yield
        return
    unsharded = unshard_for_inference(model, group, enabled=searches)
    with enough_memory(lambda: NEVER_WHOLE), unsharded:
        yield


def _step_of(run: RunDirectory) -> int | None:
    """Updates done before; None where nothing was saved yet."""
    steps = run.steps()
    return max(steps, default=0) if steps or run.sizes.exists() else None


def _rehearse(task: TranslationTask, model: nn.Module) -> None:
    """Decode some sentences as validation will; measure the longest where none can be halved."""
    sentences = range(min(REHEARSED_SENTENCES, len(task.validation.corpus)))
    model.eval()
    if task.searches:
        with torch.inference_mode():
            task.decode(model, sentences)
    elif in_parts(model):
        with torch.no_grad():
            task.measure_longest(model)
    model.train()


@contextmanager
def removed_on_failure(run: RunDirectory) -> Generator[None]:
    """Within, a failure takes the new run's directory away, so that the next try can use it."""
    try:
        yield
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise


def _say_model(model: nn.Module, config: TrainingConfig) -> torch.device:
    """Say how large a model is; where it shall learn."""
    count, device = sum(parameter.numel() for parameter in model.parameters()), _device()
    logger.info("model: %s parameters, on %s", f"{count:,}", device)
    if said := substitution(config.precision, device):
        logger.info("%s", said)
    return device


def _device() -> torch.device:
    """A GPU where there is one: of several processes on a machine, each has its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _make_vocabulary(recipe: TranslationRecipe, run: RunDirectory) -> None:
    origin = recipe.origin
    if origin and origin.vocabulary == "keep" and not any(run.vocabulary.iterdir()):
        copy_vocabulary(origin, run)
        logger.info("segmentation: that of %s, not of data.segmentation", origin.run)
    prepare_segmenters(recipe, run)


def _sizes(segmenters: Segmenters) -> str:
    source, target = (f"{len(segmenter.pieces):,}" for segmenter in segmenters)
    if segmenters.is_joint:
        return f"{source} tokens, of both languages"
    return f"{source} source tokens, {target} target tokens"
