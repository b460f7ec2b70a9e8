"""Memory that encoding and batching a large corpus take, and what its batches pad.

    python tools/benchmarks/corpus.py --pairs 10000000
    python tools/benchmarks/corpus.py --text train.en.gz train.de.gz --segmentation sentencepiece

Each stage runs in a process of its own. For each, the table shows the most memory that was
resident at once, and how much of it was anonymous: what the process itself allocated. The rest is
file pages, the mapped corpus among them; those are shared by all processes and the kernel drops
them when memory is short. The empty run imports the same modules and does nothing.
"""

import argparse
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqtrans.translation.data.batch import collate_pairs, largest_batch, plan_epoch
from seqtrans.translation.data.cache import fill_cache
from seqtrans.translation.data.corpus_files import open_corpus
from seqtrans.translation.data.encoded_corpus import EncodedCorpus
from seqtrans.translation.data.formats.text import TextFiles
from seqtrans.translation.data.length_filter import FilterConfig
from seqtrans.translation.data.parallel_corpus import read_pairs
from seqtrans.translation.data.synthetic import synthetic_pairs
from seqtrans.translation.tokenization.config import SubwordConfig
from seqtrans.translation.tokenization.segmenters import (
    SegmentationConfig,
    Segmenters,
    load_segmenters,
    train_segmenters,
)
from seqtrans.translation.tokenization.words_and_characters import WordsConfig

MIB = 1 << 20
NUM_SYMBOLS = 8000
TRAINING_PAIRS = 20_000  # that the segmentation is made from


@dataclass(frozen=True)
class Setup:
    """What every stage is told."""

    folder: Path
    num_pairs: int
    batch_tokens: int
    keep_text: bool
    segmentation: SegmentationConfig
    text: tuple[Path, Path] | None  # None: generated

    @property
    def files(self) -> TextFiles:
        """Where the text is."""
        if self.text:
            return TextFiles(source=self.text[0], target=self.text[1])
        return TextFiles(source=self.folder / "text.source", target=self.folder / "text.target")


def generated(num_pairs: int) -> Iterator[tuple[str, str]]:
    """Pairs of which the target is the source reversed, with lengths like those of real text."""
    return synthetic_pairs(
        "reverse", num_pairs, max_tokens=200, mean_tokens=21.0, num_symbols=NUM_SYMBOLS
    )


def write_text(setup: Setup) -> str:
    """Generate the corpus, unless there is one, and the vocabulary."""

    def pairs() -> Iterator[tuple[str, str]]:
        return read_pairs(setup.files) if setup.text else generated(TRAINING_PAIRS)

    train_segmenters(setup.segmentation, pairs, setup.folder / "vocabulary")
    if setup.text:
        return "given"
    with setup.files.paths[0].open("w") as source, setup.files.paths[1].open("w") as target:
        for one, other in generated(setup.num_pairs):
            source.write(one + "\n")
            target.write(other + "\n")
    return f"{sum(path.stat().st_size for path in setup.files.paths) / MIB:,.0f} MiB of text"


def empty(setup: Setup) -> str:
    """Load what every stage loads."""
    load_segmenters(setup.folder / "vocabulary")
    return "nothing"


def build(setup: Setup) -> str:
    """Encode the text into the cache, or find it there."""
    return str(cached(setup, load_segmenters(setup.folder / "vocabulary")).report)


def cached(setup: Setup, segmenters: Segmenters) -> EncodedCorpus:
    """Return the corpus of the cache, encoded if need be."""
    cache, limits = setup.folder / "cache", FilterConfig(max_tokens=256)
    key = fill_cache(cache, [setup.files], segmenters, limits, keep_text=setup.keep_text)
    return open_corpus(cache / key)


def plan(setup: Setup) -> str:
    """Find the corpus and plan an epoch."""
    return _epoch(setup, collate=False)


def iterate(setup: Setup) -> str:
    """Find the corpus, plan an epoch and make every batch of it."""
    return _epoch(setup, collate=True)


def _epoch(setup: Setup, *, collate: bool) -> str:
    segmenters = load_segmenters(setup.folder / "vocabulary")
    corpus = cached(setup, segmenters)
    lengths = (corpus.source_lengths, corpus.target_lengths)
    start = time.perf_counter()
    batches = plan_epoch(*lengths, batch_tokens=setup.batch_tokens, seed=1, epoch=0)
    planned = time.perf_counter() - start
    largest_batch(batches, *lengths)
    if not collate:
        return f"{len(batches):,} batches planned in {planned:.2f} s"
    targets = tokens = positions = target_positions = 0
    start = time.perf_counter()
    for indices in batches:
        batch = collate_pairs(
            corpus.pairs(indices), segmenters.source.specials, segmenters.target.specials
        )
        targets += batch.num_targets
        target_positions += batch.target_mask.numel()
        tokens += batch.num_targets + int(batch.source.mask.sum())
        positions += batch.target_mask.numel() + batch.source.mask.numel()
    rate = targets / (time.perf_counter() - start)
    return (
        f"padding {1 - tokens / positions:.2%}, "
        f"of the target {1 - targets / target_positions:.2%}; "
        f"{rate / 1e6:.1f} M target tokens/s"
    )


@dataclass(frozen=True)
class Measured:
    """What a stage took; memory in bytes."""

    said: str
    seconds: float
    resident: int
    anonymous: int


def measure(stage: Callable[[Setup], str], setup: Setup) -> Measured:
    """Run a stage in a fresh process and watch its memory every 5 ms."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_watched, args=(stage, setup, sender.send))
    child.start()
    sender.close()
    try:
        measured: Measured = receiver.recv()
    except EOFError as error:
        raise SystemExit(f"{stage.__name__} failed") from error
    child.join()
    return measured


def _watched(stage: Callable[[Setup], str], setup: Setup, send: Callable[[Measured], None]) -> None:
    peaks = {"VmHWM": 0, "RssAnon": 0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            sample()

    def sample() -> None:
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in peaks:
                peaks[name] = max(peaks[name], int(value.split()[0]) * 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    said = stage(setup)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    sample()
    send(Measured(said, seconds, peaks["VmHWM"], peaks["RssAnon"]))


def report(setup: Setup) -> None:
    """Run every stage and print the table."""
    stages = [write_text, empty, build, plan, iterate]
    pairs = "given text" if setup.text else f"{setup.num_pairs:,} generated pairs"
    print(f"{pairs}, batches of {setup.batch_tokens:,} tokens; memory in MiB")
    print(f"{'stage':12}{'seconds':>9}{'resident':>10}{'more':>7}{'anonymous':>11}{'more':>7}")
    baseline: Measured | None = None
    for stage in stages:
        result = measure(stage, setup)
        baseline = result if stage is empty else baseline
        columns = f"{stage.__name__:12}{result.seconds:9.1f}"
        for name, width in (("resident", 10), ("anonymous", 11)):
            size: int = getattr(result, name)
            more = f"{(size - getattr(baseline, name)) / MIB:7,.0f}" if baseline else f"{'':7}"
            columns += f"{size / MIB:{width},.0f}{more}"
        print(f"{columns}  {result.said}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--keep-text", action="store_true", help="store the text beside the ids")
    parser.add_argument("--segmentation", choices=["words", "sentencepiece"], default="words")
    parser.add_argument("--text", type=Path, nargs=2, help="files to use instead of making some")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if absent")
    options = parser.parse_args(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="seqtrans-corpus."))
    folder.mkdir(parents=True, exist_ok=True)
    segmentation = (
        WordsConfig(joint=True)
        if options.segmentation == "words"
        else SubwordConfig(vocab_size=8000)
    )
    setup = Setup(
        folder,
        options.pairs,
        options.batch_tokens,
        options.keep_text,
        segmentation,
        options.text and (options.text[0], options.text[1]),
    )
    try:
        report(setup)
    finally:
        if options.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
