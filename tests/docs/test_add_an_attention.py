"""The steps of the page on attentions, made on a copy of the code; then what all must satisfy."""

import os
import re
import shutil
import subprocess
import sys
from itertools import islice

import pytest
from safetensors.torch import load_file

from tests.support.pages import ROOT, changed_copy, run_page

PAGE = ROOT / "docs" / "how-to" / "add-an-attention.md"
CORPUS = ROOT / "data" / "smart-home-en-de"
CONTRACT = ROOT / "tests" / "contracts" / "test_attentions.py"
SHORT = [
    "training.max_steps=2",
    "training.precision=fp32",
    "data.segmentation={kind: sentencepiece, vocab_size: 400}",
    "validation.decoding={max_length: 8}",
    "decoding={beam_size: 2, max_length: 8}",
]


@pytest.mark.processes
def test_the_steps_add_an_attention_that_trains_and_keeps_the_contract(tmp_path):
    code = tmp_path / "code"
    for name, count in (("train", 80), ("dev", 6), ("test", 6)):
        for language in ("en", "de"):
            with (CORPUS / f"{name}.{language}").open(encoding="utf-8") as lines:
                (tmp_path / f"{name}.{language}").write_text(
                    "".join(islice(lines, count)), encoding="utf-8"
                )
    changed_copy(PAGE, code)
    assert run_page(PAGE, tmp_path, SHORT, code) == 3
    assert len((tmp_path / "out.de").read_text().splitlines()) == 6
    weights = load_file(tmp_path / "runs/my/checkpoints/2/model.safetensors")
    assert abs(float(weights["decoder.attention.strength"]) - 0.5) < 0.1
    shutil.copy(CONTRACT, code)
    chosen = ["-k", "cumulative or every_kind", CONTRACT.name]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b11 passed", done.stdout), done.stdout
