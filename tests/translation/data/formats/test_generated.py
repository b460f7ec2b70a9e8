"""A corpus without files trains as its text in files would."""

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from seqtrans.config import dump, loads
from seqtrans.errors import RecipeError
from seqtrans.translation.data.formats.generated import GeneratedPairs
from seqtrans.translation.data.parallel_corpus import read_pairs
from tests.support.command_line import RECIPE, seqtrans

PAIRS = GeneratedPairs(task="sort", num_pairs=60, seed=3, min_tokens=2, max_tokens=5)


def train(folder, run, train, validation, *more):
    settings = [f"data.train=[{train}]", f"data.validation=[{validation}]", "training.max_steps=2"]
    sets = [word for setting in settings for word in ("--set", setting)]
    return seqtrans(folder, "train", "toy.yaml", "--run", run, *sets, *more)


def flow(corpus):
    return "{" + ", ".join(f"{key}: {value}" for key, value in vars(corpus).items()) + "}"


def test_training_is_that_from_files_of_the_same_text(tmp_path):
    (tmp_path / "toy.yaml").write_text(RECIPE)
    held_out, corpora = replace(PAIRS, num_pairs=9, seed=4), []
    for name, corpus in (("train", PAIRS), ("dev", held_out)):
        lines = "".join(f"{source}\t{target}\n" for source, target in read_pairs(corpus))
        (tmp_path / f"{name}.tsv").write_text(lines)
        corpora.append(f"{{tsv: {tmp_path / name}.tsv}}")
    for run, both in (("files", corpora), ("generated", [flow(PAIRS), flow(held_out)])):
        done = train(tmp_path, run, *both)
        assert done.returncode == 0, done.stderr
    one, other = (
        load_file(tmp_path / run / "checkpoints/2/model.safetensors")
        for run in ("files", "generated")
    )
    assert all((one[name] == other[name]).all() for name in one)
    done = train(tmp_path, "generated", flow(replace(PAIRS, seed=5)), flow(held_out), "--resume")
    assert done.returncode == 2
    assert "data.train.0.seed" in done.stderr


def test_lengths_keep_their_range_and_the_recipe_its_settings():
    assert {len(source.split()) for source, _ in read_pairs(PAIRS)} == {2, 3, 4, 5}
    assert loads(GeneratedPairs, dump(PAIRS), "r.yaml") == PAIRS
    with pytest.raises(RecipeError, match="min_tokens 6 exceeds max_tokens 5"):
        loads(GeneratedPairs, dump(PAIRS).replace("min_tokens: 2", "min_tokens: 6"), "r.yaml")
