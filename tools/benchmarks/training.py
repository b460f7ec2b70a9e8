"""How fast seqtrans trains, beside Joey NMT and fairseq, in one run on one machine.

    python tools/benchmarks/training.py --joey-python PATH --fairseq-python PATH

Every system trains the same shapes on the same pieces with its own trainer, its own optimizer
(Adam) and the same label smoothing, dropout and clipping, each in its own process, in turn. A
number is target tokens per second (EOS counted, padding not) over whole updates: making the
batch, forward, backward, clipping, step. The first updates don't count: in them libraries compile
kernels for shapes they will meet again and allocators grow, which a run of thousands of updates
does not notice. All systems get the same number of them, and none is kept from its own caches.

Lines without a mark use the *same batches* in the same order, those of seqtrans (sentences of
similar length together), which isolates computing. Joey NMT itself does not sort by length; with
``--own-batches`` each peer enters a second time as it is shipped, with its own batches of the
same number of padded tokens.

Below the table stands what share of the processor's rate of matrix products that is. Of four
updates of seqtrans the products are recorded with their shapes, and each shape is computed alone in
the same process, with seqtrans's own ``multiply``: an update of nothing but these products would
reach 100 %.

See tools/README.md for how to install the peers.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import rounds
from shared_corpus import prepare

NAMES = {"seqtrans": "seqtrans", "joey": "Joey NMT", "fairseq": "fairseq"}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Target tokens per second of training.")
    rounds.add_arguments(parser)
    parser.add_argument("--updates", type=int, default=16, help="that count, each round")
    parser.add_argument("--warmup", type=int, default=8, help="updates before that")
    parser.add_argument("--own-batches", action="store_true", help="let peers batch as well")
    arguments = parser.parse_args()
    prepare(rounds.corpus_settings(arguments), arguments.work / "corpus")
    results = rounds.run_rounds(list(entrants(arguments)), "train", arguments)
    print(rounds.table(results, "targets"))
    print(f"\nShare of the processor's rate of products:\n\n{rounds.product_shares(results)}")
    print(
        f"\n{rounds.conditions(results, arguments)}; batches of {arguments.batch_tokens:,} tokens"
    )


def entrants(arguments: argparse.Namespace) -> Iterator[rounds.Entrant]:
    """Who takes part, shape by shape."""
    systems = list(rounds.pythons(arguments))
    steps = ("--updates", str(arguments.updates), "--warmup", str(arguments.warmup))
    for shape in arguments.shapes:
        for precision in arguments.precisions:
            for system, python in systems:
                if not rounds.can_run(system, shape, precision):
                    continue
                common = (system, python, shape, precision)
                name = NAMES[system]
                yield rounds.Entrant(*common, name, steps)
                if arguments.own_batches and system != rounds.OURS:
                    yield rounds.Entrant(*common, f"{name}, own batches", (*steps, "--batches=own"))


if __name__ == "__main__":
    main()
