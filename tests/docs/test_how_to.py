"""The steps of how-to pages, made on a copy of the code; then the pages' commands."""

from itertools import islice

import pytest

from tests.support.pages import ROOT, changed, changed_copy, run_page
from tests.support.pages import blocks as blocks_of

CORPUS = ROOT / "data" / "smart-home-en-de"
HOW_TO = ROOT / "docs" / "how-to"
SHORT = [
    "training.max_steps=2",
    "training.precision=fp32",
    "data.segmentation={kind: sentencepiece, vocab_size: 400}",
    "validation.decoding={max_length: 8}",
    "decoding={beam_size: 2, max_length: 8}",
]


def head(name, target, count):
    with (CORPUS / name).open(encoding="utf-8") as lines:
        target.write_text("".join(islice(lines, count)), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """A folder with little text in both languages, and what makes a recipe of it."""
    for part, count in (("train", 80), ("dev", 6), ("test", 6)):
        for language in ("en", "de"):
            head(f"{part}.{language}", tmp_path / f"{part}.{language}", count)
    return tmp_path


def recipe_of(page):
    return next(block.text for block in blocks_of(page) if block.title == "my.yaml")


def perform(page, folder):
    changed_copy(page, folder / "code")
    return run_page(page, folder, SHORT, folder / "code")


@pytest.mark.processes
def test_add_an_optimizer(folder):
    page = HOW_TO / "add-an-optimizer.md"
    assert perform(page, folder) == 3
    state = (folder / "runs/my/checkpoints/last").read_text().strip()
    assert (folder / "runs/my/checkpoints" / state / "optimizer.safetensors").is_file()


@pytest.mark.processes
def test_add_a_metric(folder):
    (folder / "my.yaml").write_text(
        recipe_of(HOW_TO / "add-an-optimizer.md").replace("kind: rmsprop", "kind: adam")
    )
    assert perform(HOW_TO / "add-a-metric.md", folder) == 2
    assert '"valid/exact"' in (folder / "runs/my/metrics.jsonl").read_text()


def test_a_change_that_does_not_fit_is_an_error():
    page = HOW_TO / "add-an-optimizer.md"
    diff = next(block for block in blocks_of(page) if block.language == "diff")
    with pytest.raises(AssertionError):
        changed("other code\n", diff)


@pytest.mark.parametrize("page", sorted(HOW_TO.glob("*.md")), ids=lambda page: page.stem)
def test_the_changes_of_every_page_fit_the_code(page, tmp_path):
    """Fast: whoever moves code sees at once which page to mend."""
    changed_copy(page, tmp_path)
