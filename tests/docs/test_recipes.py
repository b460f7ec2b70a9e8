"""The translation recipes train, for two steps here, and their headers say what they reach."""

import pytest

from seqtrans.cli import main
from seqtrans.errors import RecipeError
from seqtrans.recipe.load import load_recipe
from seqtrans.training.checkpoints.run_directory import open_run
from tests.support.pages import ROOT

RECIPES = sorted((ROOT / "recipes" / "translation").glob("*.yaml"))


def ships(recipe):
    """Whether the text of a recipe does; else nothing but its files may be amiss."""
    try:
        load_recipe(recipe)
    except RecipeError as error:
        mistakes = str(error).splitlines()
    else:
        return True
    assert all("there is no such file" in line for line in mistakes), mistakes
    return False


def smaller_on_some_text(folder):
    """For a recipe that is for the text, and the machine, of others."""
    lines = [f"{i} of {i * i}\t{i * i} von {i}" for i in range(99)]
    (folder / "some.tsv").write_text("\n".join(lines))
    pairs = f"[{{tsv: {folder / 'some.tsv'}}}]"
    settings = [f"data.train={pairs}", f"data.validation={pairs}", "data.test=[]"]
    settings += ["data.segmentation.vocab_size=300", "training.accumulate=1"]
    return settings + [f"model.{half}.num_layers=1" for half in ("encoder", "decoder")]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_trains_for_two_steps(recipe, tmp_path):
    settings = ["training.max_steps=2", "training.validate_every_steps=2", "validation.metrics=[]"]
    settings += ["training.schedule.warmup_steps=1", "training.stopping.metric=perplexity"]
    settings += [f"data.cache={tmp_path / 'cache'}", "training.checkpoints={keep_best: 1}"]
    if not ships(recipe):
        settings += smaller_on_some_text(tmp_path)
    sets = [word for setting in settings for word in ("--set", setting)]
    assert main(["train", str(recipe), "--run", str(tmp_path / "run"), *sets]) == 0
    assert open_run(tmp_path / "run").steps() == [2]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_says_what_it_reaches(recipe):
    header, _, body = recipe.read_text(encoding="utf-8").partition("\ntask:")
    for word in ("seqtrans train", "BLEU", "minutes" if "\nexpected:" in body else "no figure"):
        assert word in header, word
