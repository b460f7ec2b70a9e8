"""Draw a run's curves beside what its decoder looks at while it translates one sentence.

    python tools/make_picture.py runs/smart-home-en-de docs/images/training-and-attention.png

needs the extra ``plots`` and a run whose decoder is recurrent with one attention head, such as that
of ``make demo``.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqtrans.nn.attention.recurrent import ProjectedMemory
from seqtrans.training.reporting.plots import read_curves
from seqtrans.translation.protocols import SourceBatch
from seqtrans.translation.recipe.load_run import Run, load_run

SENTENCE = "Bluetooth is required when offline mode is enabled."
WORD = "\u2581"  # how a piece that begins a word begins
END = "(end)"


def main() -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--sentence", default=SENTENCE)
    options = parser.parse_args()
    run = load_run(options.run)
    source, target, weights = attention(run, options.sentence)
    rows, columns = words(target), words(source)
    draw(
        read_curves(options.run / "metrics.jsonl"),
        ([name for name, _ in rows], [name for name, _ in columns]),
        by_words(weights, rows, columns),
        options.output,
    )
    return 0


def attention(run: Run, sentence: str) -> tuple[list[str], list[str], Tensor]:
    """Return the pieces of a sentence, those of its translation, and the attention between them.

    The weights are (target, source); each row sums to 1. They are the contexts of a memory whose
    values are unit vectors, so any attention with one head can be looked into.
    """
    source, target = run.segmenters
    translator = run.translator(run.decoding({}, "this"), "cpu")
    (translation,) = translator.translate_window([sentence])
    pieces = {piece: number for number, piece in enumerate(target.pieces)}
    output = [pieces[token] for token in translation.tokens]
    ids = [*source.encode([sentence])[0], source.specials.eos]
    seen: list[Tensor] = []
    decoder: Any = run.model.decoder
    decoder.attention.attend = recorded(decoder.attention.attend, seen)
    with torch.no_grad():
        tokens = torch.tensor([ids])
        shown = torch.tensor([[target.specials.bos, *output]])
        run.model.logits(SourceBatch(tokens, torch.ones_like(tokens, dtype=torch.bool)), shown)
    read = [source.pieces[number] for number in ids[:-1]]
    return [*read, END], [*translation.tokens, END], torch.cat(seen, dim=1)[0]


def recorded(attend: Callable[..., Any], seen: list[Tensor]) -> Callable[..., Any]:
    """Return ``attend`` of an attention so that it also stores its weights (B, Q, M)."""

    def attend_and_record(query: Tensor, memory: ProjectedMemory, state: Any) -> Any:
        if memory.value.dim() != 3:
            sys.exit("this draws an attention of one head")
        unit = torch.eye(memory.value.size(1)).expand(len(memory.value), -1, -1)
        seen.append(attend(query, memory._replace(value=unit), state)[0])
        return attend(query, memory, state)

    return attend_and_record


def words(pieces: list[str]) -> list[tuple[str, slice]]:
    """Return the words that pieces make, each with its place among the pieces."""
    starts = [
        i for i, piece in enumerate(pieces) if i == 0 or piece.startswith(WORD) or piece == END
    ]
    places = [slice(*pair) for pair in itertools.pairwise([*starts, len(pieces)])]
    return [("".join(pieces[place]).replace(WORD, ""), place) for place in places]


def by_words(
    weights: Tensor, rows: list[tuple[str, slice]], columns: list[tuple[str, slice]]
) -> Tensor:
    """Return attention between words: summed over source pieces, averaged over target pieces."""
    return torch.stack(
        [
            torch.stack([weights[row, column].sum(dim=1).mean() for _, column in columns])
            for _, row in rows
        ]
    )


def draw(
    curves: dict[str, list[tuple[int, float]]],
    labels: tuple[list[str], list[str]],
    weights: Tensor,
    path: Path,
) -> None:
    """Draw loss and BLEU by update on the left and the attention on the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    for name, title, marker in (
        ("train/nll", "training loss", ""),
        ("valid/loss", "validation loss", "o"),
    ):
        left.plot(*zip(*curves[name], strict=True), label=title, marker=marker)
    scores = left.twinx()
    scores.plot(*zip(*curves["valid/bleu"], strict=True), "s-", color="tab:green", label="BLEU")
    left.set_xlabel("update", fontsize=14)
    left.set_ylabel("loss (nats a token)", fontsize=14)
    left.set_ylim(bottom=0)
    scores.set_ylabel("BLEU, validation, greedy", fontsize=14, color="tab:green")
    scores.set_ylim(bottom=0)
    lines = [*left.get_lines(), *scores.get_lines()]
    left.legend(lines, [str(x.get_label()) for x in lines], loc="center right", fontsize=13)
    right.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    right.set_yticks(range(len(labels[0])), labels[0])
    right.set_xticks(range(len(labels[1])), labels[1], rotation=35, ha="left")
    right.xaxis.tick_top()
    for axes in (left, scores, right):
        axes.tick_params(labelsize=13)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
