"""Runs without what only training needs: as users leave it out, and as ``export`` does."""

import random
import shutil

import pytest
from safetensors.torch import load_file

from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.translation.recipe.load_run import load_run
from tests.support.trained_translator import RECIPE, json_lines, run

LINES = "ab cd\n\ndcba. a\n"
UNNEEDED = ("log.txt", "metrics.jsonl", "curves.png", "lock", "job", "sizes.yaml")


@pytest.fixture(scope="module", params=["plain", "ema"])
def home(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("home")
    draw = random.Random(1)  # noqa: S311 - no secret
    lines = ["".join(draw.choices("abcd. ", k=8)).strip() or "a" for _ in range(20)]
    (folder / "train.src").write_text("".join(f"{line}\n" for line in lines))
    (folder / "train.tgt").write_text("".join(f"{line[::-1].strip()}\n" for line in lines))
    ema = ", ema_decay: 0.5" if request.param == "ema" else ""
    steps = f"max_steps: 4, validate_every_steps: 2, checkpoints: {{keep_last: 9}}{ema}"
    (folder / "toy.yaml").write_text(RECIPE.replace("max_steps: 3", steps))
    (folder / "input").write_text(LINES)
    code, said = run(folder, "train", "toy.yaml", "--run", "run")
    assert code == 0, said
    return folder


@pytest.fixture
def bare(home):
    """The run as its user may have stripped it."""
    path = home / "bare"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(home / "run", path)
    for name in UNNEEDED:
        (path / name).unlink(missing_ok=True)
    for moments in path.glob("checkpoints/*/optimizer.safetensors"):
        moments.unlink()
    if (path / "checkpoints" / "4" / "ema.safetensors").exists():
        (path / "checkpoints" / "4" / "model.safetensors").unlink()
    return path


@pytest.fixture
def shipped(home):
    path = home / "shipped"
    shutil.rmtree(path, ignore_errors=True)
    code, said = run(home, "export", "run", "--format", "run", "-o", "shipped", "--checkpoint", "4")
    assert code == 0, said
    assert said.startswith("shipped: checkpoint 4 without what only training needs; 0.")
    assert said.count("\n") == 1
    return path


@pytest.fixture(params=["bare", "shipped"])
def stripped(request):
    return request.getfixturevalue(request.param)


def output(home, *arguments):
    code, said = run(home, *arguments, "-o", "out")
    assert code == 0, said
    return (home / "out").read_text()


def test_all_that_uses_a_model_answers_as_with_the_whole_run(home, stripped):
    for command in (
        ["translate", "RUN", "input", "--format", "jsonl", "--checkpoint", "4"],
        ["score", "RUN", "train.src", "train.tgt", "--checkpoint", "4"],
    ):
        found, expected = (
            output(home, *(str(path) if x == "RUN" else x for x in command))
            for path in (stripped, home / "run")
        )
        assert found == expected
    for command in (["show", stripped], ["average", stripped]):
        code, said = run(home, *command)
        assert code == 0, said


def test_a_new_run_starts_from_it(home, stripped):
    for path in (stripped, home / "run"):
        start = [f"init_from.{key}={value}" for key, value in (("run", path), ("checkpoint", 4))]
        changes = [x for change in (*start, "training.max_steps=1") for x in ("--set", change)]
        shutil.rmtree(home / f"from-{path.name}", ignore_errors=True)
        code, said = run(home, "train", "toy.yaml", "--run", f"from-{path.name}", *changes)
        assert code == 0, said
        assert f"starting from the weights of {path}/checkpoints/4" in said
    mine, theirs = (load_run(home / f"from-{path.name}") for path in (stripped, home / "run"))
    found, expected = mine.model.state_dict(), theirs.model.state_dict()
    assert all(found[name].equal(tensor) for name, tensor in expected.items())


def test_training_can_not_go_on_and_says_what_is_missing_in_one_line(home, stripped):
    code, said = run(home, "train", "toy.yaml", "--run", stripped, "--resume")
    assert code == 2
    (told,) = (line for line in said.splitlines() if line.startswith("seqtrans: "))
    assert told.startswith(f"seqtrans: {stripped}/checkpoints/4/optimizer.safetensors is missing: ")
    assert told.endswith("a new run can start from it by init_from")


def test_a_mean_that_was_shipped_alone_is_not_trained_over(home):
    for name in ("mean", "alone"):
        shutil.rmtree(home / name, ignore_errors=True)
    shutil.copytree(home / "run", home / "mean")
    assert run(home, "average", "mean")[0] == 0
    arguments = ("mean", "--format", "run", "-o", "alone", "--checkpoint", "averaged")
    assert run(home, "export", *arguments)[0] == 0
    code, said = run(home, "train", "toy.yaml", "--run", "alone", "--resume")
    assert code == 2
    (told,) = (line for line in said.splitlines() if line.startswith("seqtrans: "))
    assert told.startswith("seqtrans: alone/checkpoints/averaged is the only checkpoint: ")
    assert run(home, "translate", "alone", "input")[0] == 0
    recipe = (home / "toy.yaml").read_text()
    (home / "again.yaml").write_text(f"{recipe}\ninit_from: alone\n")
    code, said = run(home, "train", "again.yaml", "--run", home / f"again-{len(recipe)}")
    assert code == 0, said


def test_what_is_shipped_is_whole_small_and_named(home, shipped):
    origin = load_run(home / "run", "4")
    copy = RunDirectory(shipped)
    assert {p.name for p in copy.path.iterdir()} == {"recipe.yaml", "vocabulary", "checkpoints"}
    assert {p.name for p in copy.at(4).iterdir()} == {"model.safetensors", "state.yaml"}
    assert copy.pointed("best") == copy.pointed("last") == copy.at(4)
    assert checkpoint.read_state(copy.at(4)) == checkpoint.read_state(home / "run/checkpoints/4")
    stored = load_file(copy.at(4) / "model.safetensors")
    assert stored.keys() == checkpoint.read_inference_weights(origin.checkpoint).keys()
    assert all(tensor.equal(stored[name]) for name, tensor in load_run(shipped).model.state_dict().items())  # fmt: skip # noqa: E501
    again = run(home, "export", "shipped", "--format", "run", "-o", "again")
    assert again[0] == 0
    shutil.rmtree(home / "again")


def test_nothing_is_replaced_and_nothing_half_done_stays(home, shipped):
    before = sorted(home.iterdir())
    assert shipped in before
    code, said = run(home, "export", "run", "--format", "run", "-o", "shipped")
    assert (code, said) == (2, "seqtrans: shipped exists already: choose another, or delete it\n")
    code, said = run(home, "export", "run", "--format", "run", "-o", "none/shipped")
    assert (code, said.count("\n")) == (2, 1)
    assert "none/shipped can't be written: No such file or directory" in said
    code, said = run(home, "export", "run", "--format", "run")
    assert (code, said) == (2, "seqtrans: --format run needs -o: the folder to make\n")
    assert sorted(home.iterdir()) == before


def test_damage_is_not_shipped(home, bare):
    (bare / "checkpoints" / "2" / "state.yaml").write_text("")
    weights = bare / "checkpoints" / "4" / "ema.safetensors"
    weights = weights if weights.exists() else weights.with_name("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    code, said = run(home, "export", "bare", "--format", "run", "-o", "x", "--checkpoint", "4")
    assert (code, said.count("\n")) == (2, 1)
    assert "safetensors was altered" in said
    weights.unlink()
    code, said = run(home, "translate", "bare", "input", "--checkpoint", "4")
    assert said == f"seqtrans: bare/checkpoints/4/{weights.name} is missing\n"
    assert not (home / "x").exists()


def test_pointers_that_point_nowhere_matter_only_where_they_are_asked(home, bare):
    pointers = bare / "checkpoints"
    (pointers / "best").write_text("4\n")
    (pointers / "last").write_text("99\n")
    assert len(json_lines(output(home, "translate", "bare", "input", "--format", "jsonl"))) == 3
    assert run(home, "show", "bare")[0] == 0
    (pointers / "best").unlink()
    code, said = run(home, "translate", "bare", "input")
    named = "seqtrans: bare/checkpoints/last names '99', but there is no such checkpoint"
    assert (code, said) == (2, f"{named}; its checkpoints are 2, 4\n")
    (pointers / "last").unlink()
    code, said = run(home, "translate", "bare", "input")
    assert said == "seqtrans: bare has no last checkpoint yet; its checkpoints are 2, 4\n"
    assert len(output(home, "translate", "bare", "input", "--checkpoint", "4")) > 3
