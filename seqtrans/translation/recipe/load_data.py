"""Load the corpora of a recipe from the cache, and check them."""

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

SAMPLED_SENTENCES = 10_000  # of a corpus, evenly spaced
MAX_LINES_READ = 1_000_000  # of the text, to sample from
WARN_UNKNOWN = 0.05  # proportion of unknown tokens
REFUSE_UNKNOWN = 0.5


@dataclass(frozen=True)
class Corpora:
    """Training and validation corpora of a run."""

    train: EncodedCorpus
    validation: EncodedCorpus
    sources: Sequence[Sequence[str]]  # source text of ``validation``, file by file
    references: Sequence[str]  # target text of ``validation``


def load_corpora(
    data: DataConfig, segmenters: Segmenters, cache: Path, processes: Rendezvous = ALONE
) -> Corpora:
    """Load the encoded corpora from the cache, or encode them; log their sizes.

    On each machine one process reads the text, fills the cache and checks it; the others only open
    the corpora.

    Raises:
        DataError: Text can't be read, no training pair is left, or the cache can't be written.
    """
    samples = sampling_of(data.segmentation) is not None

    def fill() -> str:
        train = fill_cache(cache, data.train, segmenters, data.filter, keep_text=samples)
        validation = fill_cache(cache, data.validation, segmenters, None, keep_text=False)
        return f"{train} {validation}"

    keys = processes.once("corpora", fill, per_host=True).split()
    if not all((cache / key).is_dir() for key in keys):  # two machines have the same name
        keys = fill().split()
    train, validation = (open_corpus(cache / key) for key in keys)
    files = [list(read_pairs(files)) for files in data.validation]
    sources = [[source for source, _ in pairs] for pairs in files]
    references = [target for pairs in files for _, target in pairs]
    for name, corpus in (("training", train), ("validation", validation)):
        logger.info("%s: %s; %s", name, corpus.report, _tokens_in(corpus))
    return Corpora(train, validation, sources, references)


def check_vocabulary(corpora: Corpora, segmenters: Segmenters) -> None:
    """Check that few tokens of the text are unknown, and warn if there are many.

    Raises:
        DataError: Most tokens are unknown.
    """
    sides: tuple[tuple[str, Segmenter, Rows, Rows], ...] = (
        ("source", segmenters.source, corpora.train.source, corpora.validation.source),
        ("target", segmenters.target, corpora.train.target, corpora.validation.target),
    )
    for side, segmenter, *both in sides:
        for name, rows in zip(("training", "validation"), both, strict=True):
            share = unknown_share(rows, segmenter.specials.unk)
            message = f"{share:.1%} of the {side} tokens of the {name} corpus are unknown"
            if share > REFUSE_UNKNOWN:
                raise DataError(f"{message}: the vocabulary does not fit this text")
            if share > WARN_UNKNOWN:
                logger.warning("%s: does the vocabulary fit this text?", message)


def log_changes(data: DataConfig, corpora: Corpora, segmenters: Segmenters) -> None:
    """Log what normalization changes in the training text, and unknown tokens of the target.

    A large corpus is sampled.

    Raises:
        DataError: The text can't be read.
    """
    step = max(1, min(corpora.train.report.total, MAX_LINES_READ) // SAMPLED_SENTENCES)
    sampled = list(islice(read_pairs(*data.train), 0, MAX_LINES_READ, step))
    for column, (side, segmenter) in enumerate(segmenters._asdict().items()):
        changes = find_changes(segmenter, [pair[column] for pair in sampled])
        if changes.changed:
            logger.info(
                "normalization changes %s of %s %s%s lines, %s characters: %s%s",
                f"{changes.changed_lines:,}",
                f"{changes.lines:,}",
                "sampled " if step > 1 else "",
                side,
                f"{changes.changed.total():,}",
                changes.examples_of_changed,
                "; translations can't contain these characters" if side == "target" else "",
            )
        if changes.unknown and side == "target":
            logger.info(
                "%s different target %s, %s of %s, are unknown; translations can't contain them: "
                "%s",
                f"{len(changes.unknown):,}",
                changes.unit,
                f"{changes.unknown.total():,}",
                f"{changes.total:,}",
                changes.examples_of_unknown,
            )


def check_metrics(measure: Measure, references: Sequence[str]) -> None:
    """Log the signatures of metrics, and warn of metrics that do not suit the text.

    Raises:
        DataError: A tokenizer needs a package that is not installed.
    """
    if measure.metrics:
        logger.info("validation measures %s", "; ".join(signatures(measure)))
    if measure.tokenize != Measure().tokenize and "bleu" not in measure.metrics:
        logger.warning(
            "validation.tokenize %s has no effect: it is for bleu, which validation.metrics lacks",
            measure.tokenize,
        )
    for warning in unsuited(measure, references, "the target text of data.validation", IN_RECIPE):
        logger.warning("%s", warning)


def unknown_share(rows: Rows, unk: int) -> float:
    """Return the proportion of ``unk`` among the tokens of rows, on a sample if there are many."""
    step = max(1, len(rows) // SAMPLED_SENTENCES)
    sampled = [rows[i] for i in range(0, len(rows), step)]
    unknown = sum(int((row == unk).sum()) for row in sampled)
    return unknown / max(1, sum(map(len, sampled)))


def _tokens_in(corpus: EncodedCorpus) -> str:
    source, target = (int(n.sum()) for n in (corpus.source_lengths, corpus.target_lengths))
    return f"{source:,} source tokens, {target:,} target tokens"
