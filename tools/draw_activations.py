"""Write ``recipes/images/ACTIVATIONS.md`` and its picture from the table of activations.

Run it when ``seqtrans/nn/activations.py`` changes; a test compares the text. Values and
gradients in the picture are those of the modules, not of the formulas. Needs matplotlib, from
the extra ``plots``:

    python tools/draw_activations.py
"""

from pathlib import Path

import torch

from seqtrans.nn.activations import DESCRIPTIONS, ActivationName, activation
from seqtrans.tensor_types import Float, Tensor

FOLDER = Path(__file__).resolve().parent.parent / "recipes" / "images"
TEXT, PICTURE = FOLDER / "ACTIVATIONS.md", FOLDER / "activations.png"
COLUMNS = 5
VALUE_COLOR, GRADIENT_COLOR = "#1f5fa8", "#c8551b"

HEAD = """# Activations

What a recipe may write for `activation`. Formulas are Python, with `from math import *` and the
names in this table. The derivative is what training uses; it is also the derivative of the
formula, save for the binary step and, where a formula has a kink, at that one point.

This page and its picture are made by `tools/draw_activations.py`.

![value and derivative of every activation between -4 and 4](activations.png)

| name | value at `x` | derivative at `x` | range | source |
|---|---|---|---|---|
"""


def page() -> str:
    """The page, as Markdown."""
    rows = (
        f"| `{name}` | `{it.formula}` | `{it.derivative}` | `{it.range}` | {it.source} |\n"
        for name, it in DESCRIPTIONS.items()
    )
    return HEAD + "".join(rows)


def curves(name: ActivationName) -> tuple[Float[Tensor, " N"], ...]:
    """Points from -4 to 4, and there the values and the gradients that training uses."""
    x = torch.linspace(-4, 4, 401, requires_grad=True)
    y = activation(name)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return x.detach(), y.detach(), gradient


def draw(path: Path) -> None:
    """Draw all activations into a PNG file, one panel each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(DESCRIPTIONS) // COLUMNS)
    figure = Figure(figsize=(2 * COLUMNS, 1.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, name in enumerate(DESCRIPTIONS, start=1):
        axes = figure.add_subplot(rows, COLUMNS, number)
        x, y, gradient = curves(name)
        is_step = name == "binary_step"
        axes.plot(x, y.masked_fill(x.abs() < 0.01, float("nan")) if is_step else y, VALUE_COLOR)
        axes.plot(x, gradient, GRADIENT_COLOR, linestyle="--")
        axes.set(title=name, ylim=(-1.75, 2.25), xlim=(-4, 4), xticks=range(-4, 5, 2))
        axes.grid(visible=True, alpha=0.3)
    handles = figure.axes[0].get_lines()
    figure.legend(handles, ("value", "derivative"), loc="lower right", fontsize="large")
    figure.savefig(path, format="png", dpi=80)


if __name__ == "__main__":
    TEXT.write_text(page(), encoding="utf-8")
    draw(PICTURE)
    print(f"{TEXT}, {PICTURE}: {PICTURE.stat().st_size} bytes")
