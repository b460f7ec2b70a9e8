"""Splitting an update into micro-batches or over processes changes nothing.

SGD without clipping, because Adam and clipping hide a constant factor in the gradient.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from seqtrans.training.distributed.process_group import TorchProcessGroup
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from tests.support.processes import meet
from tests.support.toy_training import toy_task, toy_trainer, weights

THAWING = {"max_steps": 12, "thaw": {"hidden.*": 2}, "learning_rates": {"norm.*": 0.3}}


def double(trainer):
    trainer.raw_model.double()
    return trainer


def whole_update(steps=1):
    trainer = double(toy_trainer())
    for _ in range(steps):
        trainer.update([trainer.task.train])
    return trainer


def test_micro_batches_of_uneven_size_equal_one_batch():
    split = double(toy_trainer())
    rows = torch.arange(68)
    for _ in range(3):
        split.update([split.task.rows(r) for r in (rows[:5], rows[5:60], rows[60:])])
    torch.testing.assert_close(weights(split), weights(whole_update(3)), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulating_trains_like_batches_as_large(accumulate):
    parts = double(toy_trainer(toy_task(batch_size=6, accumulate=accumulate), max_steps=5))
    whole = double(toy_trainer(toy_task(batch_size=6 * accumulate), max_steps=5))
    parts.fit()
    whole.fit()
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-12, rtol=1e-12)


@dataclass
class Uneven:
    """Gives rank 0 few rows in one micro-batch and rank 1 many in two."""

    task: Any

    def rows(self, rank):
        rows = torch.arange(68)
        parts = [rows[:5]] if rank == 0 else [rows[5:50], rows[50:]]
        return [self.task.rows(part) for part in parts]


def shown(trainer):
    """What the log would say of the updates so far."""
    metrics = trainer.metrics.read(trainer.group)
    return {name: metrics[name] for name in ("loss", "nll", "perplexity", "padding_share")}


def _update_together(group, folder):
    assert isinstance(group, TorchProcessGroup)
    assert group.world_size == 2
    trainer = toy_trainer()
    trainer.raw_model.double()
    trainer = toy_trainer(model=trainer.raw_model, group=group)
    for _ in range(3):
        trainer.update(Uneven(trainer.task).rows(group.rank))
    together = toy_trainer(group=group, max_steps=12, validate_every_steps=5)
    together.raw_model.seen.zero_()
    together.fit()
    thawed = toy_trainer(group=group, **THAWING)
    thawed.fit()
    result = {
        "thawed": weights(thawed),
        "weights": weights(trainer),
        "shown": shown(trainer),
        "fitted": weights(together),
        "metrics": torch.tensor(
            [together.state.stopping.best, together.state.step], dtype=torch.float64
        ),
    }
    torch.save(result, folder / f"{group.rank}.pt")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    assert meet(_update_together, folder, 2) == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_uneven_processes_equal_one_batch(pair):
    for found in pair:
        torch.testing.assert_close(
            found["weights"], weights(whole_update(3)), atol=1e-12, rtol=1e-12
        )


def test_two_processes_thaw_like_one(pair):
    alone = toy_trainer(**THAWING)
    alone.fit()
    for found in pair:
        torch.testing.assert_close(found["thawed"], weights(alone), atol=1e-5, rtol=1e-4)


def test_two_uneven_processes_log_means_over_both(pair):
    for found in pair:
        assert found["shown"] == pytest.approx(shown(whole_update(3)))


def test_two_processes_train_and_judge_like_one(pair):
    alone = toy_trainer(max_steps=12, validate_every_steps=5, group=SINGLE_PROCESS)
    alone.fit()
    for found in pair:
        torch.testing.assert_close(found["fitted"], weights(alone), atol=1e-5, rtol=1e-4)
        assert found["metrics"].tolist() == [alone.state.stopping.best, 12]
