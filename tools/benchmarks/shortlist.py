"""What shortlists cost in quality and save in time, on one run, one core and one text.

    seqtrans lexicon RUN
    python tools/benchmarks/shortlist.py RUN test.en test.de --batch-tokens 64 1024

Every size translates the whole text in every round, in turn, so that a slow moment of the machine
meets all of them; the first round does not count. 0 is the full output layer. The time is that of
the search alone, from token ids to token ids, on the CPU.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from seqtrans.translation.evaluation.metrics import Measure, corpus_scores
from seqtrans.translation.inference.translator import Translator
from seqtrans.translation.recipe.load_run import load_run


def main() -> None:
    """Measure and print a table for each size of batches."""
    parser = argparse.ArgumentParser(description="Quality and speed of shortlists.")
    parser.add_argument("run", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 20, 30, 50, 100])
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--beam", type=int, default=5, help="1 is greedy")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = arguments.source.read_text(encoding="utf-8").splitlines()
    references = arguments.reference.read_text(encoding="utf-8").splitlines()
    for batch_tokens in arguments.batch_tokens:
        settings = {"beam_size": arguments.beam, "batch_tokens": batch_tokens, "n_best": 1}
        translators = {
            size: translator_of(arguments.run, {**settings, "shortlist": size})
            for size in arguments.sizes
        }
        seconds: dict[int, list[float]] = {size: [] for size in translators}
        texts: dict[int, list[str]] = {}
        for _ in range(arguments.rounds + 1):
            for size, translator in translators.items():
                window = translator.parts.cut(source)
                started = time.perf_counter()
                found = translator.hypotheses(window.inputs)
                seconds[size].append(time.perf_counter() - started)
                texts[size] = [line.text for line in translator.parts.join(window, found)]
        print(f"\nbeam {arguments.beam}, batches of {batch_tokens:,} source tokens\n")
        print("| shortlist | lines/s | times | BLEU | equal lines |\n|---|---|---|---|---|")
        rates = {n: len(source) / statistics.median(s[1:]) for n, s in seconds.items()}
        first = arguments.sizes[0]
        for size, rate in rates.items():
            bleu = corpus_scores(texts[size], references, Measure(metrics=("bleu",)))["bleu"]
            equal = sum(a == b for a, b in zip(texts[size], texts[first], strict=True))
            row = (
                f"{rate:,.1f} | {rate / rates[first]:.2f} | {bleu:.2f} | {equal / len(source):.1%}"
            )
            print(f"| {size or 'none'} | {row} |")


def translator_of(path: Path, settings: dict[str, int]) -> Translator:
    """Load a run to translate with."""
    run = load_run(path)
    config = run.decoding(settings, "the benchmark")
    return run.translator(config, "cpu")


if __name__ == "__main__":
    main()
