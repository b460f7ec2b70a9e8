import errno
import io
import json
import logging
import os
import re
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from seqtrans.errors import CheckpointError, TrainingError
from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.checkpoints import run_directory
from seqtrans.training.checkpoints.run_directory import RunDirectory, create, cut_metrics, open_run
from seqtrans.training.checkpoints.weights import (
    RowMap,
    average,
    carry_over,
    fill,
    holding,
    named_weights,
)
from seqtrans.training.config import CheckpointsConfig
from seqtrans.training.optim.optimizer import AdamConfig, SgdConfig
from tests.support.toy_training import ToyModel, all_state, toy_run, toy_trainer

KEEP = CheckpointsConfig(keep_last=3, keep_best=0, every_steps=2)
TRAINING = {
    "checkpoints": KEEP,
    "ema_decay": 0.9,
    "optimizer": AdamConfig(),
    "validate_every_steps": 2,
}


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    """A run with the checkpoints 2, 4 and 6."""
    run = toy_run(tmp_path / "run")
    toy_trainer(run=run, max_steps=6, **TRAINING).fit()
    assert run.steps() == [2, 4, 6]
    return run


def resumed(run, **config):
    trainer = toy_trainer(run=run, max_steps=6, **{**TRAINING, **config})
    return trainer, trainer.resume()


def one_line(caught):
    return "\n" not in str(caught.value)


def test_names_on_disk_stay_those_of_format_1(run):
    """Runs of earlier versions are read, whatever the code calls these things by now."""
    state = yaml.safe_load((run.at(6) / "state.yaml").read_text())
    assert state["format"] == 1
    assert state["judged"].keys() == {"metric", "maximised", "loss"}
    assert state["state"].keys() == {
        *("epoch", "updates_in_epoch", "micro_batches_in_epoch", "step", "validated_step"),
        *("seconds", "lr_scale", "stopping"),
    }
    assert state["state"]["stopping"].keys() == {"best", "best_step", "waited"}


def test_a_tied_weight_is_stored_once_and_scratch_is_not(run):
    stored = load_file(run.at(6) / "model.safetensors")
    assert set(stored) == {
        "embedding.weight",
        "hidden.weight",
        "hidden.bias",
        "norm.weight",
        "norm.bias",
        "out.bias",
        "seen",
    }
    assert "exp_avg:hidden.weight" in load_file(run.at(6) / "optimizer.safetensors")


FILES = ["model.safetensors", "optimizer.safetensors", "ema.safetensors", "state.yaml"]


def truncate(file):
    os.truncate(file, file.stat().st_size - 1)


def flip_a_bit(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def empty(file):
    os.truncate(file, 0)


def delete(file):
    file.unlink()


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, delete])
@pytest.mark.parametrize("name", FILES)
def test_damage_is_named_and_the_newest_good_checkpoint_taken(run, name, damage, caplog):
    damage(run.at(6) / name)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read_state(run.at(6))
    assert str(run.at(6) / name) in str(caught.value)
    assert one_line(caught)
    trainer, found = resumed(run)
    assert found
    assert trainer.state.step == 4
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert str(run.at(6) / name) in caplog.text
    assert "going on from step 4" in caplog.text
    trainer.fit()
    assert run.steps() == [2, 4, 6]
    checkpoint.read_state(run.at(6))
    assert not list(run.checkpoints.glob(".*"))


def test_where_no_checkpoint_is_good_the_newest_is_named(run):
    for step in run.steps():
        truncate(run.at(step) / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"6.model\.safetensors has \d+ bytes, not \d+"):
        resumed(run)


def reseal(file, change):
    """Alter a state as its author might, with a checksum that is right."""
    text = change(file.read_text().rpartition("checksum: ")[0])
    file.write_text(f"{text}checksum: {checkpoint._digest(text)}\n")


WRONG_VALUES = [
    ("  updates_in_epoch: 6\n", "  updates_in_epoch: -6\n"),
    ("  step: 6\n", f"  step: {10**30}\n"),
    ("  step: 6\n", "  steps: 6\n"),
    ("  lr_scale: 1.0\n", "  lr_scale: .nan\n"),
    ("    best_step: 6\n", "    best_step: true\n"),
    ("metrics:\n", "metrics:\n  accuracy: [1]\n"),
    ("optimizer: adam\n", ""),
    ("optimizer: adam\n", "optimizer: [adam]\n"),
    ("optimizer: adam\n", "optimizer: !!python/name:os.system ''\n"),
    ("optimizer: adam\n", f"optimizer: {'[' * 5000}\n"),
    ("optimizer: adam\n", "optimizer: &a {<<: *a}\n"),
    ("  model.safetensors:\n", "  ../4/model.safetensors:\n"),
    ("files:\n", f"files:\n  {'x' * 300}: 1\n"),
    ("files:\n", "files: 3\nothers:\n"),
    ("    bytes:", "    bytes: {}\n    more:"),
]


@pytest.mark.parametrize(("old", "new"), WRONG_VALUES, ids=lambda text: text[:24])
def test_wrong_values_under_a_right_checksum_are_damage(run, old, new):
    file = run.at(6) / "state.yaml"
    assert old in file.read_text()
    reseal(file, lambda text: text.replace(old, new, 1))
    trainer, found = resumed(run)
    assert found
    assert trainer.state.step == 4


def test_a_wrong_value_is_told_with_its_line(run):
    file = run.at(6) / "state.yaml"
    reseal(file, lambda text: text.replace("lr_scale: 1.0", "lr_scale: -1.0"))
    line = 1 + next(i for i, t in enumerate(file.read_text().splitlines()) if "lr_scale" in t)
    said = (
        f"{re.escape(str(file))}:{line}: state.lr_scale must be a number of 0 or more, not -1.0; "
    )
    with pytest.raises(CheckpointError, match=said) as caught:
        checkpoint.read_state(run.at(6))
    assert one_line(caught)


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_what_was_measured_may_be_no_number(run, value):
    file = run.at(6) / "state.yaml"
    reseal(file, lambda text: re.sub("(accuracy|loss|best): [^n\n].*", rf"\1: {value}", text))
    assert file.read_text().count(f": {value}\n") == 4  # two metrics, and two of the best
    metrics = checkpoint.read_state(run.at(6))["metrics"]
    assert [str(x) for x in metrics.values()] == [str(float(value.replace(".", "")))] * 2
    assert resumed(run)[0].state.step == 6


def test_pointers_that_are_no_text_are_written_anew(run):
    (run.checkpoints / "last").write_bytes(b"\xa2\xff")
    resumed(run)
    assert run.pointed("last") == run.at(6)
    for name in ("6" * 5000, "6\0"):
        (run.checkpoints / "last").write_text(name)
        with pytest.raises(CheckpointError, match="there is no such checkpoint"):
            run.pointed("last")


def test_a_checkpoint_of_another_version_is_refused(run):
    for step in run.steps():
        file = run.at(step) / "state.yaml"
        text = file.read_text().rpartition("checksum: ")[0].replace("format: 1", "format: 2")
        file.write_text(f"{text}checksum: {checkpoint._digest(text)}\n")
    with pytest.raises(CheckpointError, match="has format 2; this version reads 1"):
        resumed(run)


def test_the_work_of_another_version_is_not_undone(run):
    text = (run.at(6) / "state.yaml").read_text().rpartition("checksum: ")[0]
    text = text.replace("format: 1", "format: 2")
    (run.at(6) / "state.yaml").write_text(f"{text}checksum: {checkpoint._digest(text)}\n")
    with pytest.raises(CheckpointError, match="has format 2"):
        resumed(run)


def test_a_damaged_checkpoint_ahead_pushes_no_good_one_out(run):
    truncate(run.at(6) / "model.safetensors")
    keep = CheckpointsConfig(keep_last=1, keep_best=0, every_steps=1)
    trainer, _ = resumed(run, checkpoints=keep, validate_every_steps=None)
    assert run.steps() == [4, 6]
    trainer.update(next(trainer.task.updates(0, trainer.group, 4)))
    trainer.state.updates_in_epoch += 1
    trainer.saving.save(trainer.state, {})
    assert run.steps() == [5, 6]
    assert run.pointed("last") == run.at(5)
    again, _ = resumed(run, checkpoints=keep)
    assert again.state.step == 5


def test_a_run_without_checkpoints_starts_anew(tmp_path):
    trainer, found = resumed(toy_run(tmp_path / "run"))
    assert not found
    assert trainer.state.step == 0


def test_what_an_interrupted_write_left_is_invisible_and_swept_away(run):
    left = run.checkpoints / ".8.partial"
    shutil.copytree(run.at(6), left)
    assert run.steps() == [2, 4, 6]
    resumed(run)
    assert not left.exists()


def test_another_optimizer_can_not_go_on(run):
    with pytest.raises(CheckpointError, match="was trained with optimizer 'adam', not 'sgd'"):
        resumed(run, optimizer=SgdConfig())


def test_another_model_is_refused_by_name(run):
    model = ToyModel(dim=16)
    model.extra = nn.Linear(2, 2)
    before = named_weights(model)["hidden.bias"].clone()
    with pytest.raises(CheckpointError) as caught:
        fill(model, checkpoint.read_inference_weights(run.at(6)), "checkpoint 6")
    assert "missing extra.bias; missing extra.weight" in str(caught.value)
    assert "embedding.weight is 9x12, not 9x16" in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert torch.equal(named_weights(model)["hidden.bias"], before)
    del model.extra
    stored = {**named_weights(model), "what": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="unexpected what"):
        fill(model, stored, "checkpoint 6")


def test_a_file_that_is_not_safetensors_is_an_error_of_ours(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(CheckpointError, match=r"model\.safetensors can't be read"):
        checkpoint.read_tensors(tmp_path, "model")
    with pytest.raises(CheckpointError, match=r"state\.yaml can't be read: No such file"):
        checkpoint.read_inference_weights(tmp_path)


def failing(real, after, error):
    """``real``, until it was called ``after`` times."""
    calls = []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) > after:
            raise error
        return real(*args, **kwargs)

    return call


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("after", range(8))
def test_a_full_disk_leaves_the_earlier_checkpoints_whole(run, monkeypatch, after):
    monkeypatch.setattr(os, "fsync", failing(os.fsync, after, FULL))
    trainer = toy_trainer(run=run, max_steps=8, **TRAINING)
    assert trainer.resume()
    with pytest.raises(TrainingError, match=r"step 8 can't be written .*No space left") as caught:
        trainer.fit()
    assert one_line(caught)
    monkeypatch.undo()
    assert set(run.steps()) >= {4, 6}
    for step in run.steps():
        checkpoint.read_state(run.at(step))
    trainer = toy_trainer(run=run, max_steps=8, **TRAINING)
    assert trainer.resume()
    trainer.fit()
    assert run.steps() == [4, 6, 8]
    assert run.pointed("last") == run.at(8)


def test_safetensors_meeting_a_full_disk_is_the_same_error(run, monkeypatch):
    error = checkpoint.SafetensorError("I/O error: No space left on device (os error 28)")
    monkeypatch.setattr(checkpoint, "save_file", failing(save_file, 1, error))
    trainer = toy_trainer(run=run, max_steps=8, **TRAINING)
    trainer.resume()
    with pytest.raises(TrainingError, match=r"step 8 can't be written .*No space left"):
        trainer.fit()
    assert run.steps() == [2, 4, 6]
    assert not list(run.checkpoints.glob(".*"))


def test_a_log_that_can_not_be_written_ends_training_with_one_line(run):
    class Full:
        def log(self, step, metrics):  # noqa: ARG002
            raise FULL

    trainer = toy_trainer(run=run, max_steps=20, **TRAINING)
    trainer.loggers = [Full()]
    with pytest.raises(TrainingError, match="step 2 can't be logged: No space left on device"):
        trainer.fit()


def test_a_vanished_folder_ends_training_with_one_line(run):
    trainer = toy_trainer(run=run, max_steps=8, **TRAINING)
    trainer.resume()
    trainer.loggers = []
    shutil.rmtree(run.path)
    run.path.write_text("in the way")
    with pytest.raises(TrainingError, match="step 8 can't be written"):
        trainer.fit()
    run.path.unlink()
    trainer.state.step = 10
    with pytest.raises(TrainingError, match="step 10 can't be written"):
        trainer.saving.save(trainer.state, {})
    assert not run.path.exists()


class Killed(BaseException):
    """Stands for a process that ends in the middle of a save."""


CALLS = {
    os: ("fsync", "rename", "replace", "rmdir", "unlink", "mkdir", "open"),
    io: ("open",),
    checkpoint: ("save_file",),
}


@contextmanager
def dying(patch, after):
    """A block that is left by ``Killed`` after so many calls that touch files."""
    calls = []

    def mortal(real):
        def call(*args, **kwargs):
            calls.append(real)
            if len(calls) > after:
                raise Killed
            return real(*args, **kwargs)

        return call

    with patch.context() as patched:
        for module, names in CALLS.items():
            for name in names:
                patched.setattr(module, name, mortal(getattr(module, name)))
        yield


def saving_dies(patch, trainer, after):
    """Train; die in the middle of a save, after so many calls that touch files."""
    save = trainer.saving.save

    def die(state, metrics):
        with dying(patch, after):
            save(state, metrics)

    trainer.saving.save = die
    try:
        trainer.fit()
    except Killed:
        return True
    return False


def test_dying_at_any_call_that_touches_files_leaves_a_run_that_resumes(run, monkeypatch):
    straight = toy_trainer(run=toy_run(run.path.parent / "straight"), max_steps=8, **TRAINING)
    straight.fit()
    after, died = 0, True
    while died:
        copy = RunDirectory(run.path.parent / f"dies after {after}")
        shutil.copytree(run.path, copy.path)
        trainer = toy_trainer(run=copy, max_steps=8, **TRAINING)
        trainer.resume()
        died = saving_dies(monkeypatch, trainer, after)
        again = toy_trainer(run=copy, max_steps=8, **TRAINING)
        assert again.resume()
        again.fit()
        for key, tensor in all_state(straight).items():
            assert torch.equal(all_state(again)[key], tensor), key
        assert replace(again.state, seconds=0) == replace(straight.state, seconds=0)
        assert copy.steps() == [4, 6, 8]
        assert copy.pointed("last") == copy.at(8)
        assert not list(copy.checkpoints.glob(".*"))
        after += 1
    assert after > 25


def test_dying_while_a_checkpoint_is_deleted_leaves_none_that_is_damaged(run, monkeypatch):
    after, died = 0, True
    while died:
        copy = RunDirectory(run.path.parent / f"dies after {after}")
        shutil.copytree(run.path, copy.path)
        try:
            with dying(monkeypatch, after):
                checkpoint.remove(copy.at(4))
            died = False
        except Killed:
            pass
        assert set(copy.steps()) >= {2, 6}
        for step in copy.steps():
            checkpoint.read_state(copy.at(step))
        after += 1
    assert copy.steps() == [2, 6]
    assert after > 4


def test_new_runs_never_overwrite_and_say_what_is_in_the_way(tmp_path):
    run = create(tmp_path / "deep" / "run", "a: 1\n")
    assert (run.recipe.read_text(), run.vocabulary.is_dir()) == ("a: 1\n", True)
    with pytest.raises(TrainingError, match="exists already; go on with it by --resume"):
        create(run.path, "a: 2\n")
    assert run.recipe.read_text() == "a: 1\n"
    (tmp_path / "file").write_text("x")
    for taken in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(TrainingError, match=r"is a file|can't be made: Not a directory"):
            create(taken, "a: 2\n")
    (tmp_path / "empty").mkdir()
    create(tmp_path / "empty", "a: 2\n")


def test_what_a_start_that_was_killed_left_is_not_in_the_way(tmp_path):
    for name in ("checkpoints", "vocabulary"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / ".recipe.yaml.partial").write_text("a:")
    run = create(tmp_path / "run", "a: 1\n")
    assert (run.recipe.read_text(), list(run.path.glob(".*"))) == ("a: 1\n", [])
    run.recipe.unlink()
    (run.path / "mine.py").write_text("precious")
    with pytest.raises(TrainingError, match="holds other things than a run"):
        create(run.path, "a: 2\n", files={"mine.py": b"other"})
    (run.path / ".mine.py.partial").write_text("prec")
    create(run.path, "a: 2\n", files={"mine.py": b"precious"})
    run.recipe.unlink()
    (run.path / "mine.py").unlink()
    (run.vocabulary / "joint.model").write_text("precious")
    with pytest.raises(TrainingError, match="holds other things than a run"):
        create(run.path, "a: 2\n")


def test_what_is_no_run_is_said_so(tmp_path):
    with pytest.raises(CheckpointError, match="there is no run directory"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"is not a run directory: it holds no recipe\.yaml"):
        open_run(tmp_path)


def test_an_unwritable_run_is_said_before_training(run, monkeypatch):
    monkeypatch.setattr(run_directory.os, "access", lambda *_: False)
    with pytest.raises(TrainingError, match="can't be written: permission denied"):
        resumed(run)


def test_pointers_must_name_a_checkpoint(run):
    assert run.pointed("last") == run.at(6)
    with pytest.raises(CheckpointError, match="has no first checkpoint"):
        run.pointed("first")
    for name in ("99", "../checkpoints/6", ".", "", "/"):
        (run.checkpoints / "best").write_text(f"{name}\n")
        with pytest.raises(CheckpointError, match="there is no such checkpoint"):
            run.pointed()


def test_metrics_after_the_checkpoint_and_torn_lines_are_cut(tmp_path):
    run = create(tmp_path / "run", "")
    lines = [json.dumps({"step": step, "x": 1.5}) for step in (1, 2, 3)]
    run.metrics.write_text("\n".join(lines) + '\n{"step": 1, "x"')
    cut_metrics(run, 2)
    assert run.metrics.read_text() == "\n".join(lines[:2]) + "\n"
    cut_metrics(run, 0)
    assert run.metrics.read_text() == ""


def test_the_mean_of_checkpoints(tmp_path):
    for i, value in enumerate((1.0, 2.0, 6.0)):
        tensors = {"w": torch.full((2,), value, dtype=torch.float16), "n": torch.tensor(i)}
        checkpoint.write(tmp_path / str(i), {}, {"model": tensors})
    mean = average([tmp_path / str(i) for i in range(3)])
    assert mean["w"].tolist() == [3.0, 3.0]
    assert (mean["w"].dtype, mean["n"].tolist()) == (torch.float16, 0)
    checkpoint.write(tmp_path / "other", {}, {"model": {"w": torch.zeros(3)}})
    with pytest.raises(
        CheckpointError, match=r"other is not of the model in .*: missing n; w is 3"
    ):
        average([tmp_path / "0", tmp_path / "other"])
    with pytest.raises(CheckpointError, match="no checkpoints to average"):
        average([])


def test_weights_are_only_lent():
    model = ToyModel()
    before = {n: t.clone() for n, t in named_weights(model).items()}
    with holding(model, {n: torch.zeros_like(t) for n, t in before.items()}):
        assert not any(t.any() for t in named_weights(model).values())
    for name, tensor in named_weights(model).items():
        assert torch.equal(tensor, before[name])


def two_vocabularies():
    old, new = ToyModel(), ToyModel()
    new.embedding = nn.Embedding(5, 12)
    new.out = nn.Linear(12, 5)
    new.out.weight = new.embedding.weight
    rows = RowMap(torch.tensor([7, 0, 3]), torch.tensor([1, 0, 4]))
    return old, new, {"embedding.weight": rows, "out.bias": rows}


def test_rows_of_shared_pieces_are_carried_over_and_others_stay_fresh():
    old, new, rows = two_vocabularies()
    fresh = new.embedding.weight.detach().clone()
    stored = {n: t.clone() for n, t in named_weights(old).items()}
    assert carry_over(new, stored, rows, "old") == {"embedding.weight": 3, "out.bias": 3}
    found = new.embedding.weight.detach()
    for old_row, new_row in ((7, 1), (0, 0), (3, 4)):
        assert torch.equal(found[new_row], stored["embedding.weight"][old_row])
        assert new.out.bias[new_row].item() == stored["out.bias"][old_row].item()
    for row in (2, 3):
        assert torch.equal(found[row], fresh[row])
    assert torch.equal(new.hidden.weight.detach(), stored["hidden.weight"])


def test_only_the_vocabulary_may_differ():
    old, new, rows = two_vocabularies()
    stored = named_weights(old)
    with pytest.raises(CheckpointError, match=r"embedding\.weight is 9x12, not 5x12"):
        carry_over(new, stored, {"out.bias": rows["out.bias"]}, "old")
    with pytest.raises(CheckpointError, match="this model has no lm_head"):
        carry_over(new, stored, {**rows, "lm_head": rows["out.bias"]}, "old")
    narrow = {**stored, "embedding.weight": torch.zeros(9, 4)}
    with pytest.raises(CheckpointError, match=r"rows of embedding\.weight are 4, not 12"):
        carry_over(new, narrow, rows, "old")
    del narrow["embedding.weight"]
    with pytest.raises(CheckpointError, match=r"missing embedding\.weight"):
        carry_over(new, narrow, rows, "old")


def test_the_state_says_what_it_seals(run):
    raw = yaml.safe_load((run.at(6) / "state.yaml").read_text())
    assert set(raw["files"]) == {f for f in FILES if f != "state.yaml"}
    for name, seal in raw["files"].items():
        assert (run.at(6) / name).stat().st_size == seal["bytes"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Cannot allocate memory (os error 12)"),
        RuntimeError("unable to mmap 80 bytes from file <x>: Cannot allocate memory (12)"),
    ],
)
def test_a_checkpoint_that_memory_cant_hold_is_named_and_not_passed_over(run, error, monkeypatch):
    def refuse(_file):
        raise error

    monkeypatch.setattr(checkpoint, "load_file", refuse)
    with pytest.raises(CheckpointError, match=r"6/model\.safetensors can't be read: .*memory"):
        toy_trainer(run=run, max_steps=8, **TRAINING).resume()
    assert run.steps() == [2, 4, 6]
