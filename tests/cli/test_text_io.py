"""Standard streams that are closed, full or of another encoding, and names that are not UTF-8."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from seqtrans.training.reporting.loggers import JsonLinesLogger
from tests.support.command_line import seqtrans

RECIPE = """
data:
  train: [{source: en, target: de}]
  validation: [{source: en, target: de}]
  segmentation: {kind: characters}
model:
  encoder: {kind: recurrent, hidden_dim: 8, num_layers: 1}
  decoder: {kind: recurrent, hidden_dim: 8, num_layers: 1, attention: general}
training: {max_steps: 2, accumulate: 2}
"""
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # ASCII, and nothing else
CLOSED = "<&- >&- 2>&-"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run whose every name is not UTF-8, trained with all streams closed."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "en").write_text("".join(f"the cat sees {i}\n" for i in range(30)))
    (folder / "de").write_text("".join(f"die Kätze sieht {i}\n" for i in range(30)))
    (folder / "ref\udcff").write_text("the cat sat on the mat\nthe dog ran home today\n")
    (folder / "toy\udcff.yaml").write_text(RECIPE)
    done = shell(folder, f"train toy\udcff.yaml --run run\udcff {CLOSED}", **PLAIN)
    assert done.returncode == 0
    return folder


def shell(folder, command, **variables):
    """What a shell makes of ``seqtrans command``."""
    line = b"'" + os.fsencode(sys.executable) + b"' -m seqtrans " + os.fsencode(command)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=folder, env=environment, capture_output=True, check=False
    )  # fmt: skip


def outcome(done):
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("command", ["keys", "--help", "--version", "evaluate -r en en -m chrf"])
def test_a_closed_output_is_one_line(home, command):
    done = shell(home, f"{command} >&-")
    assert outcome(done) == (2, "", "seqtrans: standard output: is closed\n")


def test_without_an_error_stream_or_an_input_the_output_is_the_same(home):
    expected = seqtrans(home, "--version").stdout
    for unheard in ("2>&-", "2>/dev/full", "<&-", "<&- 2>&-"):
        done = shell(home, f"--version {unheard}")
        assert (done.returncode, done.stdout.decode()) == (0, expected)


def test_results_go_to_a_file_though_nobody_listens(home):
    for closed in (CLOSED, "> /dev/full 2> /dev/full"):
        done = shell(home, f"translate run\udcff en -o out\udcff {closed}", **PLAIN)
        assert done.returncode == 0
        out = home / "out\udcff"
        assert out.read_bytes().count(b"\n") == 30
        out.unlink()


def test_a_closed_input_is_said_to_be(home):
    done = shell(home, "evaluate -r - en -m chrf <&-")
    said = "seqtrans: standard input: can't be read: it is closed\n"
    assert outcome(done) == (2, "", said)


def test_no_file_gets_the_number_of_a_stream(home):
    """With the standard error closed, what is said would go into the next file that is opened."""
    code = (
        "import os, sys; from seqtrans import cli;"
        "from seqtrans.cli.text_io import prepare_streams; prepare_streams();"
        "file = open('model', 'wb'); assert file.fileno() > 2; print('loud', file=sys.stderr);"
        "os.write(2, b'loud'); import subprocess; subprocess.run(['sh', '-c', 'echo loud >&2'])"
    )
    command = f'"{sys.executable}" -c "{code}" {CLOSED}'
    assert subprocess.run(command, cwd=home, shell=True, check=False).returncode == 0  # noqa: S602
    assert (home / "model").read_bytes() == b""


@pytest.mark.processes
def test_processes_that_train_together_need_no_streams(home):
    done = shell(home, f"train toy\udcff.yaml --run two --devices 2 {CLOSED}")
    assert done.returncode == 0
    assert (home / "two" / "checkpoints" / "best").read_text() == "2\n"


@pytest.mark.processes
def test_a_bulk_job_needs_no_streams_and_takes_any_name(home):
    command = "translate run\udcff ref\udcff en -o bulk\udcff --workers 1"
    assert shell(home, f"{command} {CLOSED}", **PLAIN).returncode == 0
    assert sorted(p.name for p in (home / "bulk\udcff").glob("[!.]*")) == ["en", "ref\udcff"]
    done = shell(home, command, **PLAIN)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.endswith(b"bulk\\udcff: done already\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin1"])
def test_talk_is_in_the_encoding_asked_for_and_data_in_utf8(home, encoding):
    (home / "en2").write_text("a line\nof Кот\n")
    command = "evaluate -r ref\udcff ref\udcff en2 -m chrf"
    done = shell(home, f"{command} --confidence", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    table = done.stdout.decode(encoding)
    assert re.search(r"^ref\\udcff +100.00", table, re.MULTILINE)
    assert ("±" in table) == (encoding == "latin1")
    done = shell(home, f"{command} --format json", PYTHONIOENCODING=encoding)
    systems = [score["system"] for score in json.loads(done.stdout.decode("utf-8"))]
    assert systems == ["ref\udcff", "en2"]
    done = shell(home, "evaluate -r none\udcff en -m chrf", PYTHONIOENCODING=encoding)
    assert outcome(done) == (2, "", "seqtrans: none\\udcff: no such file\n")


@pytest.mark.parametrize(
    "command",
    ["show run\udcff", "show run\udcff --recipe", "average run\udcff", "keys --format schema"],
)
def test_commands_print_in_a_locale_without_letters(home, command):
    done = shell(home, command, **PLAIN)
    assert done.returncode == 0, done.stderr
    assert done.stdout or b"the mean of the steps" in done.stderr


def test_images_of_any_name_are_classified(home):
    for name in ("cat", "Kätzchen"):
        (home / "images" / name).mkdir(parents=True)
        for shade in range(6):
            Image.new("L", (8, 8), shade * 40).save(home / "images" / name / f"{shade}.png")
    (home / "images.yaml").write_text(
        "task: classification\n"
        "data: {train: {kind: folder, path: images}, validation: {kind: fraction, fraction: 0.4},"
        " test: {kind: folder, path: images}, batch_size: 4}\n"
        "model: {kind: mlp}\n"
        "training: {max_steps: 2, stopping: {metric: loss}}\n"
    )
    (home / "images" / "cat" / "1.png").rename(home / "one\udcff.png")
    assert shell(home, "train images.yaml --run mlp", **PLAIN).returncode == 0
    done = shell(home, "classify mlp one\udcff.png --format jsonl", **PLAIN)
    found = json.loads(done.stdout.decode("utf-8"))
    assert found["image"] == "one\udcff.png"
    assert {c["class"] for c in found["classes"]} == {"cat", "Kätzchen"}  # in any locale
    done = shell(home, "evaluate mlp --format json", **PLAIN)
    assert json.loads(done.stdout) == json.loads((home / "mlp" / "confusion.json").read_bytes())
    (home / "images" / "no\udcff").mkdir()
    Image.new("L", (8, 8)).save(home / "images" / "no\udcff" / "0.png")
    done = seqtrans(home, "train", "images.yaml", "--run", "other")
    assert done.returncode == 2
    assert done.stderr.endswith("the name of this class folder is not UTF-8; rename it\n")


def read_strictly(path):
    """What a reader that knows nothing of seqtrans finds in a file of its name."""
    content = path.read_bytes()
    if path.suffix == ".yaml":
        return yaml.safe_load(content)
    if path.suffix in (".json", ".jsonl"):
        lines = content.decode().splitlines() if path.suffix == ".jsonl" else [content]
        return [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in lines]
    if path.suffix == ".png":
        with Image.open(path) as image:
            return image.verify() or image.format
    if path.suffix == ".safetensors":
        return torch.tensor(int.from_bytes(content[:8], "little")) < len(content)
    return content.decode()


def test_every_file_of_a_run_is_what_its_name_says(home):
    run = home / "run\udcff"
    measured = {"train/loss": math.nan, "valid/bleu": math.inf, "train/seconds": 1.5}
    JsonLinesLogger(run / "metrics.jsonl").log(3, measured)
    endings = set()
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        assert read_strictly(path) is not None, path
        endings.add(path.suffix)
    assert {".yaml", ".json", ".jsonl", ".safetensors", ".txt"} <= endings
    last = read_strictly(run / "metrics.jsonl")[-1]
    assert last == {"step": 3, "train/loss": None, "valid/bleu": None, "train/seconds": 1.5}
    recipe = yaml.safe_load(shell(home, "show run\udcff --recipe", **PLAIN).stdout)
    assert recipe["training"]["max_steps"] == 2
    assert isinstance(recipe["training"]["optimizer"]["learning_rate"], float)


def test_json_lines_of_translate_and_score_are_strict(home):
    for command in ("translate run\udcff en", "score run\udcff en de"):
        done = shell(home, f"{command} --format jsonl", **PLAIN)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.decode("utf-8").splitlines()
        assert len(lines) == 30
        for line in lines:
            json.loads(line, parse_constant=lambda name: pytest.fail(name))


def test_two_processes_with_one_output_write_all_of_theirs(home):
    """The first begins, the second begins and ends, and only then the first goes on."""
    command = [sys.executable, "-m", "seqtrans", "translate", "run\udcff", "-o", "both"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=home, bufsize=0, **pipes) as first:
        first.stdin.write(b"one\ntwo\n")
        wait_for(home, 1)
        with subprocess.Popen(command, cwd=home, bufsize=0, **pipes) as second:
            second.communicate(b"a\n" * 5)
            assert second.returncode == 0
        assert (home / "both").read_bytes().count(b"\n") == 5
        first.communicate(b"three\n")
        assert first.returncode == 0
    assert (home / "both").read_bytes().count(b"\n") == 3
    assert not [p for p in home.iterdir() if p.name.endswith(".partial")]


def wait_for(folder, count):
    while len([p for p in folder.iterdir() if re.search(r"both.*partial", p.name)]) < count:
        pass


def test_output_may_be_the_input_a_stream_or_a_long_name(home):
    (home / "mine").write_bytes((home / "en").read_bytes())
    name = "x" * 255
    assert shell(home, "translate run\udcff mine -o /dev/stdout > piped").returncode == 0
    for output in ("mine", name):
        done = seqtrans(home, "translate", "run\udcff", "mine", "-o", output)
        assert done.returncode == 0, done.stderr
    for written in ("mine", name, "piped"):
        assert (home / written).read_bytes().count(b"\n") == 30
    done = seqtrans(home, "translate", "run\udcff", "mine", "-o", "no/where")
    assert done == (2, "", "seqtrans: no/where: can't be written: there is no folder no\n")


def test_compressed_text_of_any_name_is_translated_and_an_archive_is_not(home):
    import bz2
    import tarfile

    (home / "en.txt").write_bytes(bz2.compress((home / "en").read_bytes()))
    done = shell(home, "translate run\udcff < en.txt")
    assert seqtrans(home, "translate", "run\udcff", "en", "-o", "plain").returncode == 0
    assert done.stdout == (home / "plain").read_bytes()
    with tarfile.open(home / "en.tgz", "w:gz") as archive:
        archive.add(home / "en", "en")
    done = shell(home, "translate run\udcff < en.tgz")
    assert done.returncode == 2
    assert b"is a tar archive within .gz: unpack it first" in done.stderr
    recipe = (home / "toy\udcff.yaml").read_text().replace("source: en", "source: en.tgz")
    (home / "tar.yaml").write_text(recipe)
    for command in (["evaluate", "-r", "en.tgz", "en"], ["train", "tar.yaml", "--run", "tar"]):
        done = seqtrans(home, *command)
        assert done.returncode == 2
        assert "is a tar archive within .gz" in done.stderr
    assert not Path(home / "tar").exists()


def test_a_name_that_the_locale_lacks_is_said_before_training_and_before_going_on(home):
    place = home / "größe"
    place.mkdir()
    for file in home.glob("*"):
        if file.is_file():
            (place / file.name).write_bytes(file.read_bytes())
    command = "train toy*.yaml --run kept --set training.max_steps=1"
    done = shell(place, command, **PLAIN)
    assert done.returncode == 2
    assert b"a run can't keep this name in a locale that is not UTF-8: set PYTHON" in done.stderr
    (name,) = (path.name for path in place.glob("toy*.yaml"))
    assert seqtrans(place, *command.replace("toy*.yaml", name).split()).returncode == 0
    done = shell(place, f"{command} --resume", **PLAIN)
    assert done.returncode == 2
    assert b"no file can be named so in the locale's ascii: set PYTHONUTF8=1\n" in done.stderr
