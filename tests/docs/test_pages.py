"""README and tutorials: their commands and Python run as they stand, with tiny trainings."""

import re
import shutil
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from seqtrans.cli import main
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.resnet import ResNet, ResNetConfig
from tests.support.pages import PAGES, ROOT, TO_RUN, blocks, run_page, write_files

CORPUS = ROOT / "data" / "smart-home-en-de"
TUTORIALS = ROOT / "docs" / "tutorials"
SHORT = ["training.max_steps=2", "training.validate_every_steps=2", "training.precision=fp32"]
SMALL_TEXT = [
    *SHORT,
    "data.segmentation={kind: sentencepiece, vocab_size: 400}",
    "data.batch_tokens=256",
    "validation={metrics: [bleu], decoding: {max_length: 8}}",
    "decoding={beam_size: 2, max_length: 8}",
]
TINY_RECIPE = """
data:
  train: [{source: train.en, target: train.de}]
  validation: [{source: dev.en, target: dev.de}]
  segmentation: {kind: sentencepiece, vocab_size: 400}
model:
  encoder: {kind: recurrent, hidden_dim: 64, bidirectional: true}
  decoder: {kind: recurrent, hidden_dim: 128, attention: additive}
training: {max_steps: 2, schedule: {kind: constant}, accumulate: 2}
validation: {metrics: [bleu], decoding: {max_length: 8}}
decoding: {beam_size: 2, max_length: 8}
"""


def head(name, target, count):
    with (CORPUS / name).open(encoding="utf-8") as lines:
        target.write_text("".join(islice(lines, count)), encoding="utf-8")


@pytest.fixture
def corpus(tmp_path):
    """A folder with little text in both languages."""
    for part, count in (("train", 80), ("dev", 6), ("test", 6)):
        for language in ("en", "de"):
            head(f"{part}.{language}", tmp_path / f"{part}.{language}", count)
    return tmp_path


def trained(folder, run):
    """The run that a page begins with."""
    (folder / "tiny.yaml").write_text(TINY_RECIPE)
    assert main(["train", str(folder / "tiny.yaml"), "--run", str(folder / run)]) == 0


def test_readme(corpus):
    small = [f"model.{half}.num_layers=1" for half in ("encoder", "decoder")]
    small += ["model.encoder.model_dim=32", "model.encoder.num_heads=2", "model.encoder.ffn_dim=32"]
    small += ["model.decoder.hidden_dim=32", "training.schedule.warmup_steps=1"]
    assert run_page(ROOT / "README.md", corpus, SMALL_TEXT + small) == 4


@pytest.mark.processes
def test_first_translation(corpus):
    folder = corpus / "data" / "smart-home-en-de"
    folder.mkdir(parents=True)
    for file in corpus.glob("*.??"):
        file.rename(folder / file.name)
    small = ["model.encoder.hidden_dim=16", "model.decoder.hidden_dim=32"]
    small += ["model.encoder.embedding_dim=32", "training.schedule.warmup_steps=1"]
    small += ["training.schedule={kind: constant}"]
    assert run_page(TUTORIALS / "first-translation.md", corpus, SMALL_TEXT + small) >= 14


def test_mistakes_are_reported_as_shown(corpus, monkeypatch, capsys):
    monkeypatch.chdir(corpus)
    page = TUTORIALS / "first-translation.md"
    write_files(page, corpus)
    (shown,) = (b.text for b in blocks(page) if b.title == "seqtrans train wrong.yaml")
    assert main(["train", "wrong.yaml"]) == 2
    assert capsys.readouterr().err == shown


def test_first_classifier(tmp_path):
    for name in ("data/digits", "recipes/images"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "images" / "one.png")
    short = ["training.max_steps=2", "training.validate_every_steps=2"]
    assert run_page(TUTORIALS / "first-classifier.md", tmp_path, short) == 5


def test_fine_tuning(corpus):
    trained(corpus, "runs/general")
    for part in ("train", "dev"):
        for language in ("en", "de"):
            name = "special" if part == "train" else part
            head(f"{part}.{language}", corpus / f"{name}.{language}", 20)
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (corpus / "photos" / name).mkdir(parents=True)
        for number in range(8):
            pixels = draw.integers(256, size=(50, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(corpus / "photos" / name / f"{number}.jpg")
    origin = ResNet(ResNetConfig(depth=18), ImageShape(3, 224, 224), 1000).state_dict()
    torch.save(origin, corpus / "resnet18.pth")
    page = TUTORIALS / "fine-tuning.md"
    text = page.read_text(encoding="utf-8")
    for old, new in (
        ("height: 224, width: 224", "height: 40, width: 40"),
        ("max_epochs: 6", "max_epochs: 2"),
    ):
        assert old in text
        text = text.replace(old, new)
    (corpus / "page.md").write_text(text, encoding="utf-8")
    assert run_page(corpus / "page.md", corpus, ["training.max_steps=2"]) == 2


@pytest.mark.processes
def test_several_processes(corpus):
    (corpus / "my.yaml").write_text(TINY_RECIPE)
    assert run_page(TUTORIALS / "several-processes.md", corpus) == 2


@pytest.mark.processes
def test_bulk_translation(corpus):
    trained(corpus, "runs/my")
    for name in ("news.en", "books.en"):
        head("test.en", corpus / name, 30)
    assert run_page(TUTORIALS / "bulk-translation.md", corpus) == 2
    assert len((corpus / "translated" / "news.en").read_text().splitlines()) == 30


def test_commands_and_python_are_run_or_say_why_not():
    """Pages that are run by a test above or beside; on others each such block says why not."""
    run = {ROOT / "README.md", *TUTORIALS.glob("*.md")}
    for page in PAGES:
        for block in blocks(page):
            is_run = page in run or "how-to" in page.parts
            assert is_run or block.reason or block.language not in TO_RUN, (page, block.text)


def test_every_fence_is_read():
    for page in PAGES:
        fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), page


def test_files_that_pages_name_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"(?<![\w/])(?:tests|tools|recipes|data)/[\w/*-]+\.\w+", text):
            assert list(ROOT.glob(path)), f"{page.name} names {path}"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
