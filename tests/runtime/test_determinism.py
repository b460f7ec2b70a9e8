"""On a device whose sums come out in any order, only what gives the same bits is computed.

A CPU stands in for it: torch refuses some things there, too, when told to be strict.
"""

import pytest
import torch
from torch import nn

from seqtrans.errors import TrainingError
from seqtrans.runtime import device
from seqtrans.runtime.device import reproducible
from seqtrans.training.preflight import try_largest_batch
from tests.support.toy_training import ToyModel, toy_trainer

CPU = torch.device("cpu")
REFUSED = (
    r"on this GPU max_unpool\w+ gives other bits each time, so that a stopped run could not go on "
    "as the same; training.deterministic: false allows it"
)


class Unpooling(ToyModel):
    """Torch has no deterministic way to do this anywhere."""

    def forward(self, token):
        x = super().forward(token)
        index = torch.zeros(len(x), 1, 1, 1, dtype=torch.int64)
        return x + nn.functional.max_unpool2d(x.sum(1)[:, None, None, None], index, 1).flatten(1)


@pytest.fixture(autouse=True)
def _varying(monkeypatch):
    monkeypatch.setattr(device, "VARYING", {"cpu"})


def settings():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def test_what_can_not_be_the_same_is_refused_before_and_while_training():
    trainer = toy_trainer(model=Unpooling())
    with pytest.raises(TrainingError, match=REFUSED):
        try_largest_batch(trainer.task, trainer.raw_model, trainer.config)
    with pytest.raises(TrainingError, match=REFUSED):
        trainer.fit()
    assert settings() == (False, False, True)


def test_it_is_allowed_where_nobody_asks_for_the_same():
    trainer = toy_trainer(model=Unpooling(), deterministic=False)
    try_largest_batch(trainer.task, trainer.raw_model, trainer.config)
    trainer.fit()


def test_torch_is_strict_in_training_alone_and_as_before_afterwards():
    seen = []

    class Watched(ToyModel):
        def forward(self, token):
            seen.append((self.training, settings()))
            return super().forward(token)

    toy_trainer(model=Watched(), max_steps=2).fit()
    strict, any_way = (True, False, False), (False, False, False)
    assert seen == [(True, strict), (True, strict), (False, any_way)]
    assert settings() == (False, False, True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with reproducible(CPU, wanted=True):
            assert settings() == (True, False, False)
        assert settings() == (True, True, True)
    finally:
        torch.use_deterministic_algorithms(False)


def test_other_errors_stay_what_they_are():
    error = RuntimeError("CUDA out of memory")
    with pytest.raises(RuntimeError) as raised, reproducible(CPU, wanted=True):
        raise error
    assert raised.value is error
    said = "this operation is not deterministic because it uses CuBLAS: CUBLAS_WORKSPACE_CONFIG=.."
    strict = reproducible(CPU, wanted=True)
    with pytest.raises(TrainingError, match="CUBLAS_WORKSPACE_CONFIG is :4096:8"), strict:
        raise RuntimeError(said)
