"""Weights after some updates do not depend on how many processes made them, nor on sharding."""

import json
from contextlib import nullcontext

import pytest
import torch

from seqtrans.training.config import ProcessesConfig, TrainingConfig
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.training.optim.optimizer import (
    AdamWConfig,
    MuonConfig,
    ScheduleFreeAdamWConfig,
    SgdConfig,
)
from seqtrans.training.optim.schedule import ConstantConfig
from seqtrans.training.trainer import Trainer
from tests.support.processes import meet
from tests.support.tiny_tasks import learner

pytestmark = pytest.mark.processes

UPDATES = 20
OPTIMIZERS = {
    "sgd": SgdConfig(learning_rate=0.1, momentum=0.9),
    "adamw": AdamWConfig(learning_rate=1e-3),
    "muon": MuonConfig(learning_rate=1e-3),
    "schedule_free_adamw": ScheduleFreeAdamWConfig(),
}


def trained(kind, optimizer, processes, group, folder):
    """Every weight after the updates, whole in every process."""
    task, model = learner(kind, folder)
    config = TrainingConfig(
        max_steps=UPDATES,
        precision="fp32",  # no autocast: all stays in fp64
        clip_norm=0.5,
        optimizer=OPTIMIZERS[optimizer],
        schedule=ConstantConfig(),
        validate_every_steps=10**9,
        processes=processes,
    )
    trainer = Trainer(task, model, config, group=group)
    updates = (update for epoch in range(99) for update in task.updates(epoch, group))
    trainer.updater.enter_epoch(0)
    for _ in range(UPDATES):
        trainer.update(next(updates))
    average = trainer.updater.average
    with average.applied() if average else nullcontext(), trainer.updater.replica.unsharded():
        return {
            name: p.full_tensor() if hasattr(p, "full_tensor") else p.detach().clone()
            for name, p in model.named_parameters()
        }


def _train(group, folder, kind, optimizer, processes):
    (folder / f"text{group.rank}").mkdir()
    found = trained(kind, optimizer, processes, group, folder / f"text{group.rank}")
    plain = {name: weight.tolist() for name, weight in found.items()}
    (folder / f"{group.rank}.json").write_text(json.dumps(plain))


def compared(kind, optimizer, processes, world, folder):
    """By process: how far its weights are from those of one process."""
    (folder / "alone").mkdir()
    expected = trained(kind, optimizer, ProcessesConfig(), SINGLE_PROCESS, folder / "alone")
    assert meet(_train, folder, world, kind, optimizer, processes) == [0] * world
    for rank in range(world):
        found = json.loads((folder / f"{rank}.json").read_text())
        assert found.keys() == expected.keys()
        yield max(
            float((torch.tensor(found[name], dtype=torch.float64) - weight).abs().max())
            for name, weight in expected.items()
        )


@pytest.mark.parametrize(
    ("kind", "optimizer", "sharding", "world"),
    [
        ("translation", "sgd", "none", 4),
        ("translation", "muon", "none", 2),
        ("translation", "schedule_free_adamw", "none", 2),
        ("translation", "schedule_free_adamw", "full", 2),
        ("translation", "sgd", "full", 2),
        ("translation", "adamw", "full", 4),
        ("switched", "sgd", "none", 2),
        ("switched", "sgd", "full", 2),
        ("images", "sgd", "none", 2),
        ("images", "sgd", "full", 2),
        ("images", "adamw", "full", 4),
    ],
)
def test_weights_are_those_of_one_process(kind, optimizer, sharding, world, tmp_path):
    tolerance = 1e-12 if optimizer == "sgd" else 1e-9  # Adam divides by small moments
    processes = ProcessesConfig(sharding=sharding)
    distances = list(compared(kind, optimizer, processes, world, tmp_path))
    assert max(distances) < tolerance


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_gradients_that_travel_in_bf16_are_rounded_and_no_worse(sharding, tmp_path):
    processes = ProcessesConfig(sharding=sharding, communication="bf16")
    distances = list(compared("translation", "sgd", processes, 2, tmp_path))
    assert distances[0] == distances[1]
    assert 1e-6 < distances[0] < 5e-3
