"""Prepare a translation run, up to its first update."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from seqtrans.errors import RecipeError
from seqtrans.runtime.out_of_memory import enough_memory
from seqtrans.training.auto_batch_size import store_resolved
from seqtrans.training.checkpoints.provenance import Origins
from seqtrans.training.checkpoints.resume_checks import refuse_changes
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.rendezvous import Rendezvous
from seqtrans.training.distributed.sharded_tensors import in_parts
from seqtrans.training.distributed.wrappers import unshard_for_inference
from seqtrans.training.prepare import Prepared, fresh_model, place_model
from seqtrans.translation.evaluation.metrics import signatures
from seqtrans.translation.recipe.auto_batch_size import resolve_sizes
from seqtrans.translation.recipe.build import build_model, prepare_segmenters
from seqtrans.translation.recipe.build_task import build_task
from seqtrans.translation.recipe.init_from import copy_vocabulary, start_from
from seqtrans.translation.recipe.load_data import (
    check_metrics,
    check_vocabulary,
    load_corpora,
    log_changes,
)
from seqtrans.translation.recipe.pretrained_embeddings import use_pretrained
from seqtrans.translation.recipe.provenance import origins_of
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.task import TranslationTask
from seqtrans.translation.tokenization.segmenters import Segmenters

logger = logging.getLogger(__name__)

REHEARSED_SENTENCES = 8
UNSHARDED_TOO_LARGE = (
    "memory can't hold the unsharded model, which each process needs to decode for validation; "
    "make it smaller, or set validation.metrics: [] and training.stopping.metric: perplexity"
)


def prepare(recipe: TranslationRecipe, run: RunDirectory, processes: Rendezvous) -> Prepared:
    """Prepare vocabulary, data, model and task, and log what they are.

    For the arguments see ``seqtrans.recipe.load.prepare``.

    Raises:
        SeqtransError: The user can fix the problem.
    """
    is_first = processes.rank == 0
    if is_first and run.steps():
        refuse_changes(run, origins_of(recipe), recipe)
    if recipe.model.adaptation and not recipe.origin and not run.steps():
        raise RecipeError(
            "model.adaptation needs the weights of another run: set init_from, or leave it out"
        )
    signatures(recipe.validation.measure)  # raises before anything that takes long
    processes.once("vocabulary", lambda: _make_vocabulary(recipe, run))
    segmenters = prepare_segmenters(recipe, run)
    logger.info("vocabulary: %s", _sizes(segmenters))
    cache = recipe.data.cache_for(run.path)
    corpora = load_corpora(recipe.data, segmenters, cache, processes)
    check_vocabulary(corpora, segmenters)
    if is_first:
        log_changes(recipe.data, corpora, segmenters)
        check_metrics(recipe.validation.measure, corpora.references)
    model = fresh_model(lambda: build_model(recipe.model, segmenters), recipe.training)
    if recipe.origin:
        logger.info("%s", start_from(recipe.origin, model, segmenters))
    if recipe.pretrained_embeddings and not run.steps():
        for message in use_pretrained(recipe.pretrained_embeddings, model, segmenters):
            logger.info("%s", message)
    group = processes.join()
    place_model(model, recipe.training, group)
    resolved = resolve_sizes(recipe, segmenters, corpora, model, group)
    if resolved != recipe and is_first:
        store_resolved(run, resolved)
    task = build_task(resolved, segmenters, corpora, group.world_size)
    origins = origins_of(resolved) if is_first else Origins()  # only the first saves it
    rehearsal = partial(rehearse, task, model)
    return Prepared(group, task, model, origins, task.updates_in, rehearsal)


def rehearse(task: TranslationTask, model: nn.Module, group: TorchProcessGroup) -> None:
    """Decode some validation sentences, or with sharding compute the loss of the longest batch.

    Raises:
        TrainingError: Memory can't hold the unsharded model.
    """
    sentences = range(min(REHEARSED_SENTENCES, len(task.validation.corpus)))
    with _unsharded(model, group, enabled=task.searches):
        model.eval()
        if task.searches:
            with torch.inference_mode():
                task.decode(model, sentences)
        elif in_parts(model):
            with torch.no_grad():
                task.measure_longest(model)
        model.train()


@contextmanager
def _unsharded(model: nn.Module, group: TorchProcessGroup, *, enabled: bool) -> Generator[None]:
    """Unshard a sharded model within the context, if enabled."""
    if not in_parts(model):
        yield
        return
    unsharded = unshard_for_inference(model, group, enabled=enabled)
    with enough_memory(lambda: UNSHARDED_TOO_LARGE), unsharded:
        yield


def _make_vocabulary(recipe: TranslationRecipe, run: RunDirectory) -> None:
    origin = recipe.origin
    if origin and origin.vocabulary == "keep" and not any(run.vocabulary.iterdir()):
        copy_vocabulary(origin, run)
        logger.info("segmentation: copied from %s, data.segmentation is ignored", origin.run)
    prepare_segmenters(recipe, run)


def _sizes(segmenters: Segmenters) -> str:
    source, target = (f"{len(segmenter.pieces):,}" for segmenter in segmenters)
    if segmenters.is_joint:
        return f"{source} tokens of both languages"
    return f"{source} source tokens, {target} target tokens"
