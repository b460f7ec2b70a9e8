"""``recipes/README.md`` lists every recipe, with the figures that it expects."""

import re

import pytest

from seqtrans import config
from seqtrans.recipe.load import described
from tests.support.pages import ROOT

FOLDER = ROOT / "recipes"
LINES = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in LINES
    if line.startswith("| [")
]


def test_every_recipe_has_one_row_under_its_own_name():
    paths = {path.stem: f"{path.parent.name}/{path.name}" for path in FOLDER.glob("*/*.yaml")}
    assert sorted(row[0] for row in ROWS) == sorted(f"[{n}]({p})" for n, p in paths.items())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"\W.*", "", row[0][1:]))
def test_a_row_says_what_the_recipe_expects(row):
    name, _, _, minutes, gives = row
    path = FOLDER / name.rpartition("(")[2][:-1]
    expected = described(config.read(path), FOLDER).expected
    if expected is None:
        assert (minutes, gives) == ("", "no figure")
        return
    metric = {"bleu": "BLEU"}.get(expected.metric, expected.metric)
    assert minutes == f"{expected.minutes:g}"
    assert gives == f"{metric} {expected.score:g} ± {expected.spread:g}"
