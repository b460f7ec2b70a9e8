"""Processes that stop and go on end with the bits of those that never stopped, averages too."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.mlp import Mlp, MlpConfig
from seqtrans.training.config import CheckpointsConfig, ProcessesConfig, TrainingConfig
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.training.optim.optimizer import ScheduleFreeAdamWConfig, SgdConfig
from seqtrans.training.optim.schedule import ConstantConfig
from seqtrans.training.stopping import StoppingConfig
from seqtrans.training.trainer import Trainer
from tests.support.processes import meet
from tests.support.tiny_tasks import classification, learner
from tests.support.toy_training import toy_run

pytestmark = pytest.mark.processes

WORLD = 3  # sums of two would not depend on their order
STEPS = 12
FILES = [f"{STEPS}/model", f"{STEPS}/optimizer", f"{STEPS}/ema", "averaged/model"]


OPTIMIZERS = {
    "sgd": {"optimizer": SgdConfig(learning_rate=0.1, momentum=0.9), "ema_decay": 0.9},
    "schedule_free": {"optimizer": ScheduleFreeAdamWConfig(learning_rate=0.01)},
}


def train(group, folder, name, sharding, steps, optimizer="sgd"):
    """Begin or resume a run in fp64 of four micro-batches an update."""
    text = folder / f"{name}-{steps}-{group.rank}"
    text.mkdir()
    task, model = learner("translation", text)
    config = TrainingConfig(
        max_steps=steps,
        precision="fp32",
        clip_norm=0.5,
        **OPTIMIZERS[optimizer],
        schedule=ConstantConfig(),
        validate_every_steps=3,
        stopping=StoppingConfig(metric="loss"),
        processes=ProcessesConfig(sharding=sharding),
        checkpoints=CheckpointsConfig(keep_best=3, average_best=3),
    )
    if group.rank == 0:
        toy_run(folder / name)
    group.sum([0.0])
    trainer = Trainer(task, model, config, run=toy_run(folder / name), group=group)
    assert trainer.resume() is (steps == STEPS and name == "resumed")
    trainer.fit()


def tensors(run: Path):
    return {
        f"{file}/{name}": tensor
        for file in FILES
        for name, tensor in load_file(run / "checkpoints" / f"{file}.safetensors").items()
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Gives the tensors of a run of one process."""

    @cache
    def tensors_with(optimizer):
        folder = tmp_path_factory.mktemp("alone")
        assert meet(train, folder, 1, "alone", "none", STEPS, optimizer) == [0]
        return tensors(folder / "alone")

    return tensors_with


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_they_end_as_if_never_stopped_and_as_one_would(tmp_path, alone, sharding):
    for name, steps in (("straight", STEPS), ("resumed", 5), ("resumed", STEPS)):
        (tmp_path / "rendezvous").unlink(missing_ok=True)
        assert meet(train, tmp_path, WORLD, name, sharding, steps) == [0] * WORLD
    straight, resumed = (tensors(tmp_path / n) for n in ("straight", "resumed"))
    assert straight.keys() == resumed.keys() == alone("sgd").keys()
    assert any(tensor.is_floating_point() for tensor in alone("sgd").values())
    for name, tensor in straight.items():
        assert torch.equal(resumed[name], tensor), name
        torch.testing.assert_close(tensor, alone("sgd")[name], rtol=1e-12, atol=1e-12)


def train_on_own_batches(group, folder, steps):
    """Train; what each update learnt from, by the labels of its micro-batches."""
    if group.rank == 0:
        toy_run(folder / "run")
    group.sum([0.0])
    config = TrainingConfig(
        max_steps=steps,
        validate_every_steps=10**9,
        stopping=StoppingConfig(metric="loss"),
        processes=ProcessesConfig(batch="each"),
    )
    task = replace(classification(), accumulate=config.micro_batches(group.world_size))
    model = Mlp(MlpConfig(widths=(4,)), ImageShape(3, 6, 5), 4)
    trainer = Trainer(task, model, config, run=toy_run(folder / "run"), group=group)
    trainer.resume()
    seen, update = [], trainer.update

    def noted(micro_batches):
        seen.extend(batch.labels.tolist() for batch in micro_batches)
        update(micro_batches)

    trainer.update = noted
    trainer.fit()
    (folder / f"{steps}-{group.rank}").write_text(json.dumps(seen))
    return seen


def test_another_number_of_processes_begins_where_the_others_ended(tmp_path):
    """With ``batch: each`` their updates are of other sizes; the epoch is still gone through."""
    epoch = [
        b.labels.tolist() for update in classification().updates(0, SINGLE_PROCESS) for b in update
    ]
    assert meet(train_on_own_batches, tmp_path, 2, 2) == [0, 0]
    seen = [json.loads((tmp_path / f"2-{rank}").read_text()) for rank in (0, 1)]
    assert [batch for pair in zip(*seen, strict=True) for batch in pair] == epoch[:4]
    assert train_on_own_batches(SINGLE_PROCESS, tmp_path, 7) == epoch[4:]
    assert len(epoch) == 9


@pytest.mark.parametrize(
    ("before", "after", "optimizer"),
    [(2, 1, "sgd"), (2, 3, "sgd"), (1, 2, "sgd"), (2, 3, "schedule_free")],
)
def test_other_processes_go_on_with_shared_out_weights_as_one_would(
    tmp_path, alone, before, after, optimizer
):
    """Parts of weights, momentum and averages are whole in a checkpoint, and cut anew."""
    for world, steps in ((before, 5), (after, STEPS)):
        (tmp_path / "rendezvous").unlink(missing_ok=True)
        assert meet(train, tmp_path, world, "resumed", "full", steps, optimizer) == [0] * world
    resumed = tensors(tmp_path / "resumed")
    expected = alone(optimizer)
    tolerance = 1e-12 if optimizer == "sgd" else 1e-9  # Adam divides by small moments
    assert resumed.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=tolerance, atol=tolerance)
