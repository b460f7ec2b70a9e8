"""The steps of the page on corpus formats, made on a copy of the code; then what they promise."""

import os
import subprocess
import sys
from itertools import islice

import pytest

from tests.support.pages import ROOT, changed_copy, run_page

PAGE = ROOT / "docs" / "how-to" / "add-a-corpus-format.md"
CORPUS = ROOT / "data" / "smart-home-en-de"
SHORT = [
    "training.max_steps=2",
    "training.precision=fp32",
    "data.segmentation={kind: sentencepiece, vocab_size: 400}",
    "validation.decoding={max_length: 8}",
]
LAW = """
from dataclasses import asdict, replace
from pathlib import Path

from seqtrans.errors import DataError
from seqtrans.translation.data.cache import _with_digests
from seqtrans.translation.data.formats.alternating import AlternatingFile
from seqtrans.translation.data.formats.text import TextFiles
from seqtrans.translation.data.parallel_corpus import read_pairs

text = TextFiles(source=Path("train.en"), target=Path("train.de"))
new = AlternatingFile(file=Path("train.txt"))
pairs = list(read_pairs(text))
assert list(read_pairs(new)) == pairs
other = replace(new, target_first=True)
assert list(read_pairs(other)) == [(b, a) for a, b in pairs]
assert _with_digests(asdict(new)) != _with_digests(asdict(other))
odd = replace(new, file=Path("odd.txt"))
odd.file.write_text("one\\neins\\ntwo\\n")
try:
    list(read_pairs(odd))
except DataError as error:
    assert str(error) == "odd.txt:3: the last line has no translation after it"
else:
    raise AssertionError("an odd number of lines was read")
"""
RESUME = """
from seqtrans.cli import main

again = ["train", "my.yaml", "--resume", "--set", "training.max_steps=3"]
raise SystemExit(main([*again, "--set", "data.train.0.target_first=true"]))
"""


@pytest.mark.processes
def test_the_steps_add_a_format_that_trains_and_is_remembered(tmp_path):
    code = tmp_path / "code"
    for name, count in (("train", 80), ("dev", 6)):
        for language in ("en", "de"):
            with (CORPUS / f"{name}.{language}").open(encoding="utf-8") as lines:
                (tmp_path / f"{name}.{language}").write_text(
                    "".join(islice(lines, count)), encoding="utf-8"
                )
    sides = ((tmp_path / f"train.{s}").read_text("utf-8").splitlines() for s in ("en", "de"))
    lines = [line for pair in zip(*sides, strict=True) for line in pair]
    (tmp_path / "train.txt").write_text("\n".join(lines), encoding="utf-8")
    changed_copy(PAGE, code)
    assert run_page(PAGE, tmp_path, SHORT, code) == 2
    done = subprocess.run(
        [sys.executable, "-c", LAW + RESUME],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "not what" in done.stderr
