"""The text of a recipe as token ids, made once and kept in a cache."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from seqtrans.errors import DataError
from seqtrans.training.distributed.rendezvous import ALONE, Rendezvous
from seqtrans.translation.data.cache import fill_cache
from seqtrans.translation.data.corpus_files import open_corpus
from seqtrans.translation.data.encoded_corpus import EncodedCorpus, Rows
from seqtrans.translation.data.parallel_corpus import read_pairs
from seqtrans.translation.evaluation.metrics import Measure, signatures
from seqtrans.translation.evaluation.suitability import IN_RECIPE, unsuited
from seqtrans.translation.protocols import Segmenter
from seqtrans.translation.recipe.schema import DataConfig
from seqtrans.translation.tokenization.segmenters import Segmenters, sampling_of
from seqtrans.translation.tokenization.text_changes import find_changes

logger = logging.getLogger(__name__)

SAMPLED_SENTENCES = 10_000  # of a corpus, spread evenly over it
MOST_READ = 1_000_000  # of the sentences that these are taken from, where that means reading text
SUSPICIOUS_UNKNOWNS = 0.05  # share of tokens above which something may be wrong
HOPELESS_UNKNOWNS = 0.5


@dataclass(frozen=True)
class Corpora:
    """What a run learns from and is judged by."""

    train: EncodedCorpus
    validation: EncodedCorpus
    sources: Sequence[Sequence[str]]  # source text of ``validation``, file by file
    references: Sequence[str]  # target text of ``validation``


def load_corpora(
    data: DataConfig, segmenters: Segmenters, cache: Path, processes: Rendezvous = ALONE
) -> Corpora:
    """Encode text, or find it encoded in the cache; say how much there is and what was left out.

    Of several processes on a machine one reads the text to find its corpora in the cache, and
    makes sure that they are whole; the others open what it found.

    Raises:
        DataError: Text can't be read, no training pair is left, or the cache can't be written.
    """
    samples = sampling_of(data.segmentation) is not None

    def fill() -> str:
        train = fill_cache(cache, data.train, segmenters, data.filter, keep_text=samples)
        validation = fill_cache(cache, data.validation, segmenters, None, keep_text=False)
        return f"{train} {validation}"

    keys = processes.once("corpora", fill, per_host=True).split()
    if not all((cache / key).is_dir() for key in keys):  # of a machine with the same name
        keys = fill().split()
    train, validation = (open_corpus(cache / key) for key in keys)
    files = [list(read_pairs(files)) for files in data.validation]
    sources = [[source for source, _ in pairs] for pairs in files]
    references = [target for pairs in files for _, target in pairs]
    for name, corpus in (("training", train), ("validation", validation)):
        logger.info("%s: %s; %s", name, corpus.report, _tokens_in(corpus))
    return Corpora(train, validation, sources, references)


def check_vocabulary(corpora: Corpora, segmenters: Segmenters) -> None:
    """Make sure that the vocabulary knows most of the text; warn where it knows too little.

    Raises:
        DataError: Most of the text is unknown.
    """
    sides: tuple[tuple[str, Segmenter, Rows, Rows], ...] = (
        ("source", segmenters.source, corpora.train.source, corpora.validation.source),
        ("target", segmenters.target, corpora.train.target, corpora.validation.target),
    )
    for side, segmenter, *both in sides:
        for name, rows in zip(("training", "validation"), both, strict=True):
            share = unknown_share(rows, segmenter.specials.unk)
            said = f"{share:.1%} of the {side} tokens of the {name} corpus are unknown"
            if share > HOPELESS_UNKNOWNS:
                raise DataError(f"{said}: the vocabulary is not one of this text")
            if share > SUSPICIOUS_UNKNOWNS:
                logger.warning("%s: is the vocabulary one of this text?", said)


def say_changes(data: DataConfig, corpora: Corpora, segmenters: Segmenters) -> None:
    """Say what normalization changes in the training text, and which of the target is unknown.

    Of many lines some are looked at, and no more than ``MOST_READ`` are read.

    Raises:
        DataError: The text can't be read.
    """
    step = max(1, min(corpora.train.report.total, MOST_READ) // SAMPLED_SENTENCES)
    sampled = list(islice(read_pairs(*data.train), 0, MOST_READ, step))
    for column, (side, segmenter) in enumerate(segmenters._asdict().items()):
        found = find_changes(segmenter, [pair[column] for pair in sampled])
        lines = f"of {found.lines:,} {side} lines" + (" looked at" if step > 1 else "")
        if found.changed:
            logger.info(
                "normalization changes %s %s, %s characters: %s%s",
                f"{found.changed_lines:,}",
                lines,
                f"{found.changed.total():,}",
                found.examples_of_changed,
                "; no translation has what it changes" if side == "target" else "",
            )
        if found.unknown and side == "target":
            logger.info(
                "%s different %s, %s of %s, are unknown, and no translation has them: %s",
                f"{len(found.unknown):,}",
                f"target {found.unit}",
                f"{found.unknown.total():,}",
                f"{found.total:,}",
                found.examples_of_unknown,
            )


def check_metrics(measure: Measure, references: Sequence[str]) -> None:
    """Say how translations will be scored; warn of scores that will tell little of such text.

    Raises:
        DataError: What a tokenizer needs is not installed.
    """
    if measure.metrics:
        logger.info("validation measures %s", "; ".join(signatures(measure)))
    if measure.tokenize != Measure().tokenize and "bleu" not in measure.metrics:
        logger.warning(
            "validation.tokenize %s does nothing: it is for bleu, which validation.metrics lacks",
            measure.tokenize,
        )
    for said in unsuited(measure, references, "the target text of data.validation", IN_RECIPE):
        logger.warning("%s", said)


def unknown_share(rows: Rows, unk: int) -> float:
    """Share of ``unk`` among the tokens of rows, estimated on some of many."""
    step = max(1, len(rows) // SAMPLED_SENTENCES)
    sampled = [rows[i] for i in range(0, len(rows), step)]
    unknown = sum(int((row == unk).sum()) for row in sampled)
    return unknown / max(1, sum(map(len, sampled)))


def _tokens_in(corpus: EncodedCorpus) -> str:
    source, target = (int(n.sum()) for n in (corpus.source_lengths, corpus.target_lengths))
    return f"{source:,} source tokens, {target:,} target tokens"
