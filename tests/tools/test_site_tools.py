"""The tools that make the site and its picture."""

import importlib.util
import subprocess
import sys

import pytest

from tests.support.command_line import RECIPE, environment, seqtrans, write_corpus
from tests.support.pages import ROOT


def tool(name):
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ('<link rel="stylesheet" href="//fonts.example/a">', ["//fonts.example/a"]),
        ('<img src="images/a.png"><a href="https://arxiv.org/abs/1">paper</a>', []),
        ('<link rel="canonical" href="https://seqtrans.example/">', []),
    ],
)
def test_what_a_page_fetches_from_elsewhere_is_found(page, found):
    assert tool("check_site").remote_fetches(page) == found


def test_code_on_pages_is_that_of_the_package():
    hooks = tool("docs_hooks")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = hooks.CODE.findall(page)
    assert len(names) == 12
    for file, name in names:
        code = hooks.listing(file, name).splitlines()
        text = (ROOT / "seqtrans" / file).read_text(encoding="utf-8")
        assert code[1].startswith(f"def {name.rpartition('.')[2]}(")
        assert all(line.strip() in text for line in code[1:-1])
        assert '"""' not in "".join(code)
    assert hooks.on_page_markdown(page).count("```python") == 12
    with pytest.raises(LookupError, match=r"seqtrans/errors.py has no nothing"):
        hooks.listing("errors.py", "nothing")


def test_every_key_is_on_the_page_of_keys():
    text = tool("docs_hooks").recipe_keys()
    for key in ("`batch_tokens`", "`beam_size` (default `5`)", "`warmup_steps`", "`augmentation`"):
        assert key in text


def test_every_package_has_a_page_with_its_modules():
    hooks = tool("docs_hooks")
    assert {"seqtrans.nn.attention", "seqtrans.training"} < set(hooks.packages())
    assert "::: seqtrans.nn.attention.recurrent" in hooks.reference("seqtrans.nn.attention")


def test_the_picture_is_drawn_from_a_run(tmp_path):
    write_corpus(tmp_path, "abcd")
    (tmp_path / "toy.yaml").write_text(RECIPE.replace("[chrf]", "[bleu, chrf]"))
    assert seqtrans(tmp_path, "train", "toy.yaml", "--run", "run").returncode == 0
    command = [sys.executable, ROOT / "tools" / "make_picture.py", "run", "x.png"]
    done = subprocess.run(
        [*command, "--sentence", "a b c"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
