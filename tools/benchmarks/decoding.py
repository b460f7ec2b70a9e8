"""How fast seqtrans translates, beside Joey NMT and fairseq, in one run on one machine.

    python tools/benchmarks/decoding.py --joey-python PATH --fairseq-python PATH

All decode the same test sentences with models of the same shape, in the same batches of sentences
of similar length, each in its own process, in turn. The peers are timed from token ids to token
ids; seqtrans from text to text, through its ``Translator``. The first pass does not count.

What is decoded decides how long it takes, so there are two protocols:

*Fixed length* (the default). Weights are random, and random weights end a sentence by chance or
never. So nobody may produce EOS before the batch's longest source length, where everybody must
stop: every system takes the same number of steps over the same number of hypotheses, whatever
its weights. A system that drops finished sentences from a batch gains nothing by it here.

*Free length* (``--train-updates N``). Every system first trains N updates on the same batches
(untimed, kept in the work folder), then decodes as it would for a user: it ends where its own
stopping rule says, at most 1.5 times the source and 10 tokens. N must be so large that the
models end their sentences; the column tokens/sentence tells whether they do.

See tools/README.md for how to install the peers.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import rounds
from shared_corpus import prepare
from training import NAMES


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description="Sentences per second of translating.")
    rounds.add_arguments(parser)
    parser.add_argument("--beams", type=int, nargs="+", default=[5, 1], help="1 is greedy")
    parser.add_argument("--passes", type=int, default=1, help="over the test text, each round")
    parser.add_argument("--train-updates", type=int, default=0, help="before; 0: random weights")
    arguments = parser.parse_args()
    prepare(rounds.corpus_settings(arguments), arguments.work / "corpus")
    if arguments.train_updates:
        train_all(arguments)
    results = rounds.run_rounds(list(entrants(arguments)), "decode", arguments)
    for beam in arguments.beams:
        told = f"--beam={beam}"
        chosen = [result for result in results if told in result.entrant.told]
        print(f"\n### {'greedy' if beam == 1 else f'beam {beam}'}\n")
        print(rounds.table(chosen, "sentences"))
    protocol = f"{arguments.train_updates} updates" if arguments.train_updates else "fixed length"
    print(f"\n{rounds.conditions(results, arguments)}; {protocol}; ", end="")
    print(f"batches of {arguments.decode_tokens:,} source tokens")


def entrants(arguments: argparse.Namespace) -> Iterator[rounds.Entrant]:
    """Who takes part, shape by shape."""
    systems = list(rounds.pythons(arguments))
    for shape in arguments.shapes:
        for precision in arguments.precisions:
            for beam in arguments.beams:
                told = [f"--beam={beam}", f"--passes={arguments.passes}", "--warmup=1"]
                if arguments.train_updates:
                    told.append(f"--weights={weights_of(arguments, shape)}")
                for system, python in systems:
                    if rounds.can_run(system, shape, precision):
                        common = (system, python, shape, precision)
                        yield rounds.Entrant(*common, NAMES[system], tuple(told))


def weights_of(arguments: argparse.Namespace, shape: str) -> Path:
    """Where the trained weights of a shape are kept."""
    return arguments.work / "corpus" / f"weights-{shape}-{arguments.train_updates}"


def train_all(arguments: argparse.Namespace) -> None:
    """Train what is not trained yet."""
    endings = {"seqtrans": "safetensors", "joey": "pt", "fairseq": "pt"}
    for system, python in rounds.pythons(arguments):
        for shape in arguments.shapes:
            folder = weights_of(arguments, shape)
            file = folder / f"{system}.{endings[system]}"
            if file.exists() or not rounds.can_run(system, shape, "fp32"):
                continue
            told = (f"--save={folder}", f"--updates={arguments.train_updates}", "--warmup=0")
            entrant = rounds.Entrant(system, python, shape, "fp32", NAMES[system], told)
            print(f"training {file}", file=sys.stderr)
            if rounds.run(entrant, "train", arguments) is None:
                sys.exit("without its weights there is nothing to compare")


if __name__ == "__main__":
    main()
