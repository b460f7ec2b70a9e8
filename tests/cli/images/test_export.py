# ruff: noqa: E501 - messages are told in full
"""``seqtrans export``: from a run to a file that gives the same scores."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from seqtrans.images.export.pixel_classifier import PixelClassifier
from tests.support.command_line import RECIPE as TRANSLATION
from tests.support.command_line import seqtrans

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "data" / "digits"
RECIPE = f"""
task: classification
data:
  train:
    kind: idx
    images: {DIGITS}/train-images-idx3-ubyte
    labels: {DIGITS}/train-labels-idx1-ubyte
    classes: [zero, one, two, three, four, five, six, seven, eight, nine]
  validation: {{kind: fraction, fraction: 0.1}}
  test:
    kind: idx
    images: {DIGITS}/test-images-idx3-ubyte
    labels: {DIGITS}/test-labels-idx1-ubyte
model: {{kind: cnn, blocks: [{{filters: 8, pool: max, dropout: 0.1}}], head: flatten, widths: [16]}}
training:
  max_steps: 20
  precision: fp32
  optimizer: {{kind: adam, learning_rate: 1e-2}}
  schedule: {{kind: constant}}
  validate_every_steps: 10
  stopping: {{metric: accuracy}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a run of digits that was evaluated."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "digits.yaml").write_text(RECIPE)
    for command in (["train", "digits.yaml", "--run", "run"], ["evaluate", "run"]):
        done = seqtrans(folder, *command)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("options", "file"),
    [
        (["--format", "onnx"], "run/model.onnx"),
        (["--format", "torchscript"], "run/model.ts.pt"),
        (["-o", "net.pt2"], "net.pt2"),
    ],
)
def test_the_file_takes_every_test_image_for_what_the_run_does(home, options, file):
    done = seqtrans(home, "export", "run", *options)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    report = json.loads((home / "run" / "confusion.json").read_text())
    checkpoint = report["checkpoint"]
    told = f"{file}: answers like checkpoint {checkpoint} on 68 images; logits differ by at most "
    assert done.stderr.splitlines()[-1].startswith(told)
    pixels, labels = digits()
    assert confusion(home / file, pixels, labels) == report["confusion"]


def test_images_of_a_run_that_resizes_go_in_as_the_model_sees_them(home):
    resized = ["--set", "data.resize={height: 12, width: 10}", "--set", "training.max_steps=10"]
    for command in (
        ["train", "digits.yaml", "--run", "resized", *resized],
        ["evaluate", "resized"],
        ["export", "resized", "--format", "onnx"],
    ):
        done = seqtrans(home, *command)
        assert done.returncode == 0, done.stderr
    file = home / "resized" / "model.onnx"
    stored = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    assert (stored["height"], stored["width"]) == ("12", "10")
    pixels, labels = digits()
    by_pillow = [
        np.array(Image.fromarray(image.astype(np.uint8)).resize((10, 12), Image.Resampling.BICUBIC))
        for image in pixels[:, 0]
    ]
    report = json.loads((home / "resized" / "confusion.json").read_text())
    seen = np.stack(by_pillow)[:, None].astype(np.float32)
    assert confusion(file, seen, labels) == report["confusion"]


def digits():
    """Pixels and labels of the test set."""
    raw = [np.fromfile(DIGITS / f"test-{name}-ubyte", np.uint8) for name in ("images-idx3", "labels-idx1")]  # fmt: skip
    return raw[0][16:].reshape(-1, 1, 8, 8).astype(np.float32), raw[1][8:]


def confusion(file, pixels, labels):
    """What an exported file takes for what."""
    matrix = np.zeros((10, 10), dtype=int)
    np.add.at(matrix, (labels, logits(file, pixels).argmax(1)), 1)
    return matrix.tolist()


def logits(path, pixels):
    if path.suffix == ".onnx":
        return onnxruntime.InferenceSession(path).run(["logits"], {"images": pixels})[0]
    if path.suffix == ".pt2":
        network = torch.export.load(path).module()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            network = torch.jit.load(path)
    return network(torch.from_numpy(pixels)).detach().numpy()


def test_images_that_are_gone_are_replaced_by_others_or_none_with_a_warning(home, tmp_path):
    shutil.copytree(home / "run", tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    for gone, count in (("test-", 68), ("train-", 4)):
        recipe.write_text(recipe.read_text().replace(f"/{gone}", "/gone-"))
        done = seqtrans(tmp_path, "export", "run", "--format", "torchscript", "--checkpoint", "last")  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"answers like checkpoint 20 on {count} images" in done.stderr
        warned = "checked on random images only, as the run's can't be read: "
        assert (warned in done.stderr) == (gone == "train-")


def test_a_file_that_would_answer_otherwise_is_refused(home, monkeypatch):
    class Shifted(PixelClassifier):
        def forward(self, images):
            return super().forward(images + 1)

    monkeypatch.setattr("seqtrans.images.export.export_run.PixelClassifier", Shifted)
    good = home / "good.pt"
    good.write_bytes(b"good")
    done = seqtrans(home, "export", "run", "-o", "good.pt")
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("seqtrans: good.pt: the exported file does not answer like the model")
    assert good.read_bytes() == b"good"
    assert not list(home.glob(".*.partial"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "say --format onnx, torchscript, pt2 or run, or "),
        (["run", "-o", "x.bin"], "say --format onnx, torchscript, pt2 or run, or "),
        (["run", "--format", "onnx", "-o", "x.pt2"], "--format onnx, but x.pt2 is a name of pt2: change one"),
        (["run", "-o", "none/x.pt2"], "none/x.pt2: can't be written: No such file or directory"),
        (["run", "-o", "run.pt"], "run.pt is not a regular file"),
        (["run", "-o", "x.pt", "--checkpoint", "7"], "run has no checkpoint '7'; it has best, last, "),
        (["translation", "-o", "x.pt"], "translation is a run of task 'translation': only image classifiers can be exported to this format; use --format run"),
        (["none", "-o", "x.pt"], "there is no run directory none"),
    ],
)  # fmt: skip
def test_what_can_not_be_exported_is_one_line(home, arguments, message):
    (home / "run.pt").mkdir(exist_ok=True)
    (home / "translation").mkdir(exist_ok=True)
    (home / "translation" / "recipe.yaml").write_text(TRANSLATION)
    done = seqtrans(home, "export", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    told = [line for line in done.stderr.splitlines() if not line.startswith("test: 360 images")]
    assert len(told) == 1
    assert told[0].startswith(f"seqtrans: {message}")
