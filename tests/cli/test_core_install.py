"""``pip install .`` and ``make demo`` bring what training and translating need, and no more."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHOUT_EXTRAS = r"""
import importlib.metadata as metadata, re, sys

def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()

def needed(name, seen):
    name = normalized(name)
    if name in seen:
        return seen
    seen.add(name)
    try:
        requires = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # for another system
        return seen
    for one in requires:
        if not re.search(r"extra\s*==", one):
            needed(re.match(r"[\w.-]+", one)[0], seen)
    return seen

core = needed("seqtrans", set())
names = {
    module
    for module, of in metadata.packages_distributions().items()
    if not any(normalized(dist) in core for dist in of)
}
assert {"pytest", "matplotlib", "keras"} <= names, "nothing is hidden"

class Visible:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_distributions(self, context=metadata.DistributionFinder.Context()):
        found = getattr(self.finder, "find_distributions", lambda context: ())(context)
        return [one for one in found if normalized(one.name) in core]

    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in names
        return None if hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Visible(finder) for finder in sys.meta_path]
from seqtrans.cli import main
sys.exit(main(sys.argv[1:]))
"""
RECIPE = """
data:
  train: [{source: text, target: text}]
  validation: [{source: text, target: text}]
  segmentation: {kind: sentencepiece, vocab_size: 24, byte_fallback: false}
model:
  encoder: {kind: recurrent, hidden_dim: 8}
  decoder: {kind: transformer, num_layers: 1, model_dim: 8, num_heads: 2, ffn_dim: 8}
training: {max_steps: 2}
"""


def test_without_any_extra_a_model_is_trained_used_and_judged(tmp_path):
    (tmp_path / "text").write_text("a lamp in the kitchen\nthe door of the garage opens\n" * 9)
    (tmp_path / "recipe.yaml").write_text(RECIPE)

    def seqtrans(*arguments):
        command = [sys.executable, "-c", WITHOUT_EXTRAS, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    seqtrans("train", "recipe.yaml", "--run", "run")
    assert len(seqtrans("translate", "run", "text").splitlines()) == 18
    assert "chrF2" in seqtrans("evaluate", "-r", "text", "text")


def test_the_demo_installs_no_extra(tmp_path):
    def commands(target):
        make = ["make", "-n", target, f"VENV={tmp_path}"]
        return subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "--editable .\n" in commands("demo")
    assert "[dev" not in commands("demo")
    assert "--editable '.[dev,docs,plots]'" in commands("test")
