"""Build a search from its config."""

import math
from dataclasses import replace
from typing import assert_never

from seqtrans.translation.protocols import Searcher, Segmenter
from seqtrans.translation.search.beam import BeamSearch
from seqtrans.translation.search.config import BeamConfig, SamplingConfig, SearchConfig
from seqtrans.translation.search.minimum_bayes_risk import MinimumBayesRisk
from seqtrans.translation.search.rules import OutputRules
from seqtrans.translation.search.sampling import Sampling


def build_search(config: SearchConfig, target: Segmenter) -> Searcher:
    """Build a search from its config.

    Args:
        config: The kind of search and its settings.
        target: Segmenter of the target language.
    """
    if config.mbr:
        return MinimumBayesRisk(
            search=build_search(replace(config, mbr=None), target),
            utility=config.mbr,
            target=target,
            length_penalty=config.length_penalty,
            scale=config.mbr_scale if isinstance(config, BeamConfig) else 0.0,
        )
    rules = OutputRules.of(config, target)
    match config:
        case BeamConfig():
            return BeamSearch(
                rules=rules,
                beam_size=config.beam_size,
                length_penalty=config.length_penalty,
                n_best=config.n_best,
                spare=config.n_best if config.n_best > 1 else 0,
                enough=_enough(config),
            )
        case SamplingConfig():
            return Sampling(
                rules=rules,
                temperature=config.temperature,
                top_k=config.top_k,
                top_p=config.top_p,
                length_penalty=config.length_penalty,
                n_best=config.n_best,
                seed=config.seed,
            )
        case _:
            assert_never(config)


def _enough(config: BeamConfig) -> int | None:
    """Return how many hypotheses of a sentence must end; None: exact stopping."""
    match config.stopping:
        case "exact":
            return None
        case "first":
            return config.n_best
        case "patience":
            return max(config.n_best, math.ceil(config.beam_size * config.patience))
        case _:
            assert_never(config.stopping)
