"""The gradient as a whole, and where a step's randomness comes from."""

import math

import pytest
import torch
from torch import nn

from seqtrans.runtime.seeds import MicroBatchSeeds, start_generators
from seqtrans.training.optim.optimizer import Gradients, read
from tests.support.toy_training import ToyModel, toy_trainer


def _model_with_gradients(*, without=()):
    torch.manual_seed(0)
    model = ToyModel()
    for name, parameter in model.named_parameters():
        if name not in without:
            parameter.grad = torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("without", [(), ("hidden.weight", "norm.bias")])
def test_the_norm_is_that_of_all_gradients_as_one_vector(without):
    model = _model_with_gradients(without=without)
    whole = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    norm = math.hypot(*read(Gradients(model).norms()))
    assert norm == pytest.approx(float(whole.double().norm()), rel=1e-6)


def test_scaling_and_dropping_reach_every_gradient():
    model = _model_with_gradients()
    before = [p.grad.clone() for p in model.parameters()]
    gradients = Gradients(model)
    gradients.scale(0.25)
    torch.testing.assert_close([p.grad for p in model.parameters()], [g / 4 for g in before])
    gradients.drop()
    assert all(p.grad is None for p in model.parameters())
    assert list(gradients.norms()) == []


@pytest.mark.parametrize("limit", [1e-3, 1e6, None])
def test_an_update_clips_as_torch_does(limit):
    trainer = toy_trainer(max_steps=1, clip_norm=limit)
    step, seen = trainer.updater.optimizer.step, {}

    def look():
        seen.update({n: p.grad.clone() for n, p in trainer.raw_model.named_parameters()})
        step()

    trainer.updater.optimizer.step = look
    unclipped = toy_trainer(max_steps=1, clip_norm=None)
    unclipped.updater.optimizer.step = lambda: None
    unclipped.updater.gradients.drop = lambda: None
    unclipped.fit()
    trainer.fit()
    parameters = dict(unclipped.raw_model.named_parameters())
    nn.utils.clip_grad_norm_(parameters.values(), math.inf if limit is None else limit)
    torch.testing.assert_close(seen, {name: p.grad for name, p in parameters.items()})


def test_numbers_are_read_in_order():
    assert read([torch.tensor(2.0), torch.tensor(0.5, dtype=torch.bfloat16)]) == [2.0, 0.5]


def test_no_two_micro_batches_share_a_seed():
    places = [(s, n, part) for s in range(1250) for n in (0, 1, 7, 999) for part in (0, 3)]
    runs = [[MicroBatchSeeds(seed)[place] for place in places] for seed in (1, 2)]
    seeds = [seed for run in runs for seed in run]
    assert len(set(seeds)) == len(seeds)
    # torch's generator on the processor looks at the lower half only
    assert len({seed & 0xFFFFFFFF for seed in runs[0]}) >= len(places) - 1
    assert all(0 <= seed < 1 << 64 for seed in seeds)
    assert MicroBatchSeeds(1)[7, 1, 0] == MicroBatchSeeds(1)[7, 1, 0] != MicroBatchSeeds(1)[8, 1, 0]


def test_what_is_drawn_follows_the_seed_as_after_manual_seed():
    torch.manual_seed(3)
    expected = torch.rand(5)
    start_generators(torch.device("cpu"), 3)
    assert torch.equal(torch.rand(5), expected)
