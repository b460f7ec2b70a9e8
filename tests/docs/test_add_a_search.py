"""The steps of how to add a search, on a copy of the code: the laws of all searches hold then."""

import shutil
import subprocess
import sys
from itertools import islice

import pytest

from tests.support.pages import ROOT, changed_copy, run_page

PAGE = ROOT / "docs" / "how-to" / "add-a-search.md"
CORPUS = ROOT / "data" / "smart-home-en-de"
SHORT = [
    "training.max_steps=2",
    "training.precision=fp32",
    "data.segmentation={kind: sentencepiece, vocab_size: 400}",
    "validation={metrics: [chrf], decoding: {kind: greedy, max_length: 8}}",
]


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """A copy of the package and of the tests of searches after the steps."""
    folder = tmp_path_factory.mktemp("code")
    for part in ("__init__.py", "conftest.py", "contracts/__init__.py", "support"):
        source, target = ROOT / "tests" / part, folder / "tests" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    shutil.copy(ROOT / "tests/contracts/test_searchers.py", folder / "tests/contracts")
    shutil.copy(ROOT / "pyproject.toml", folder)
    changed_copy(PAGE, folder)
    return folder


@pytest.mark.processes
def test_the_new_search_keeps_the_laws_of_all(code):
    chosen = ["-p", "no:cacheprovider", "tests/contracts/test_searchers.py", "-k", "likeliest"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *chosen],
        cwd=code,
        env={"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert int(done.stdout.rpartition(" passed")[0].split()[-1]) >= 9  # of both models


@pytest.mark.processes
def test_its_commands_run(code, tmp_path):
    for part, count in (("train", 80), ("dev", 6), ("test", 6)):
        for language in ("en", "de"):
            with (CORPUS / f"{part}.{language}").open(encoding="utf-8") as lines:
                text = "".join(islice(lines, count))
            (tmp_path / f"{part}.{language}").write_text(text, encoding="utf-8")
    assert run_page(PAGE, tmp_path, SHORT, code) == 5
    found = {name: (tmp_path / f"{name}.de").read_text() for name in ("greedy", "sample", "beam")}
    assert [text.count("\n") for text in found.values()] == [6, 6, 6]
    assert found["sample"] != found["greedy"]
