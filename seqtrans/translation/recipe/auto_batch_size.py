"""Measure ``auto`` batch sizes of a translation recipe before training."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np
import torch
from torch import nn

from seqtrans.protocols import ProcessGroup
from seqtrans.runtime.memory import largest_that_fits
from seqtrans.runtime.out_of_memory import attempt, release
from seqtrans.training.auto_batch_size import SizeRange, agreed_size, largest_training
from seqtrans.training.preflight import reserved_memory
from seqtrans.translation.data.batch import collate_sources
from seqtrans.translation.protocols import Searcher, SearchInput, Seq2SeqModel, Specials, StateT
from seqtrans.translation.recipe.build_task import build_task
from seqtrans.translation.recipe.load_data import Corpora
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import SearchConfig
from seqtrans.translation.tokenization.segmenters import Segmenters

TOKENS = SizeRange(least=256, most_on_cpu=4096, most_on_gpu=32768)


def resolve_sizes(
    recipe: TranslationRecipe,
    segmenters: Segmenters,
    corpora: Corpora,
    model: nn.Module,
    group: ProcessGroup,
) -> TranslationRecipe:
    """Return the recipe with numbers in place of ``auto``; every process must call it.

    Args:
        recipe: The recipe.
        segmenters: Of the run.
        corpora: Of the run.
        model: On the device where it will train.
        group: The processes, which agree on the smallest size that one of them measures.
    """
    lengths, validation = corpora.validation.source_lengths, recipe.validation
    typical, longest = int(np.median(lengths)), int(lengths.max())
    if validation.decoding.batch_tokens == "auto":
        every = int((lengths + 1).sum())
        size = _search(
            validation.decoding,
            segmenters,
            model,
            (longest, typical),
            every,
            lambda tokens: _losses_fit(recipe, segmenters, corpora, model, tokens),
            reserved_memory(model, recipe.training),
        )
        tokens = agreed_size("validation.decoding.batch_tokens", size, group)
        decoding = replace(validation.decoding, batch_tokens=tokens)
        recipe = replace(recipe, validation=replace(validation, decoding=decoding))
    if recipe.decoding.batch_tokens == "auto":
        both = recipe.decoding.max_source_tokens, typical
        size = _search(recipe.decoding, segmenters, model, both, None)
        tokens = agreed_size("decoding.batch_tokens", size, group)
        recipe = replace(recipe, decoding=replace(recipe.decoding, batch_tokens=tokens))
    if recipe.data.batch_tokens != "auto":
        return recipe

    def sized(tokens: int) -> TranslationRecipe:
        return replace(recipe, data=replace(recipe.data, batch_tokens=tokens))

    sides = corpora.train.source_lengths, corpora.train.target_lengths
    epoch = max(int((side + 1).sum()) for side in sides)
    size = largest_training(
        lambda tokens: build_task(sized(tokens), segmenters, corpora, group.world_size),
        model,
        recipe.training,
        sizes=TOKENS,
        epoch=epoch // recipe.training.micro_batches(group.world_size),
    )
    return sized(agreed_size("data.batch_tokens", size, group))


def largest_search(
    search: Searcher,
    model: nn.Module,
    specials: Specials,
    lengths: Sequence[int],
    most: int | None = None,
    others_fit: Callable[[int], bool] = lambda _: True,
    reserved: int = 0,
) -> int:
    """Return the largest number of source tokens that can be searched at once.

    Args:
        search: The search.
        model: In evaluation mode.
        specials: Special ids of the source vocabulary.
        lengths: Lengths of sources without EOS; batches of each length are tried.
        most: Upper bound, if there are fewer source tokens in all.
        others_fit: Whether memory suffices for other computations with this number of tokens.
        reserved: Bytes that training will need in addition.
    """
    if not isinstance(model, Seq2SeqModel):
        raise TypeError(f"{type(model).__name__} can't be decoded: it is no Seq2SeqModel")
    device = next(model.parameters()).device
    ids = [i for i in range(max(specials) + 2) if i not in specials]

    def fits(size: int) -> bool:
        ballast = attempt(
            lambda size: torch.empty(size, dtype=torch.uint8, device=device), reserved
        )
        searched = (_search_fits(search, model, specials, ids, n, size, device) for n in lengths)
        return ballast is not None and all(searched) and others_fit(size)

    bound = min(TOKENS.most_on(device), most or 1 << 30)
    return largest_that_fits(fits, TOKENS.least, max(TOKENS.least, bound), device, reserved)


def _search_fits(
    search: Searcher,
    model: Seq2SeqModel[StateT],
    specials: Specials,
    ids: Sequence[int],
    length: int,
    size: int,
    device: torch.device,
) -> bool:
    inputs = [SearchInput(list(islice(cycle(ids), length)), 0)] * max(1, size // (length + 1))
    source = collate_sources([one.source for one in inputs], specials)
    if attempt(lambda source: search(model, source.to(device), inputs), source) is not None:
        return True
    release()
    return False


def _search(
    decoding: SearchConfig,
    segmenters: Segmenters,
    model: nn.Module,
    lengths: Sequence[int],
    most: int | None,
    others_fit: Callable[[int], bool] = lambda _: True,
    reserved: int = 0,
) -> int:
    search = build_search(decoding, segmenters.target)
    lengths = [min(length, decoding.max_source_tokens) for length in lengths]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            specials = segmenters.source.specials
            return largest_search(search, model, specials, lengths, most, others_fit, reserved)
    finally:
        model.train(was_training)


def _losses_fit(
    recipe: TranslationRecipe,
    segmenters: Segmenters,
    corpora: Corpora,
    model: nn.Module,
    tokens: int,
) -> bool:
    """Return whether memory suffices for the loss of so many tokens, which may need more."""
    decoding = replace(recipe.validation.decoding, batch_tokens=tokens)
    sized = replace(
        recipe,
        data=replace(recipe.data, batch_tokens=tokens),
        validation=replace(recipe.validation, decoding=decoding),
    )
    return build_task(sized, segmenters, corpora).longest_fits(model)
