"""Steps without PyTorch's wrapper end with its bits."""

import copy

import pytest
import torch
from torch import nn

from seqtrans.training.optim.optimizer import (
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    SgdConfig,
    Stepper,
    build_optimizer,
    set_rates,
)

CONFIGS = [AdamConfig(), AdamWConfig(weight_decay=0.3), SgdConfig(momentum=0.9), AdafactorConfig()]


def network(dtype):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)).to(dtype)


def bits(model, optimizer):
    """Weights and all that the optimizer keeps."""
    kept = [optimizer.state[p] for p in model.parameters()]
    moments = [value for state in kept for _, value in sorted(state.items())]
    return [tensor.clone() for tensor in (*model.parameters(), *moments)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_weights_and_moments_are_those_of_the_optimizer(config, dtype):
    ours = network(dtype)
    theirs = copy.deepcopy(ours)
    optimizers = [build_optimizer(config, model, {"1.*": 0.5}) for model in (ours, theirs)]
    steps = Stepper(optimizers[0]), optimizers[1].step
    for number in range(1, 6):
        for model, optimizer, step in zip((ours, theirs), optimizers, steps, strict=True):
            torch.manual_seed(number)
            for name, parameter in model.named_parameters():
                # The second layer learns from the third step on, and not in the last.
                learns = name.startswith("0.") or number in (3, 4)
                parameter.grad = torch.randn_like(parameter) if learns else None
            set_rates(optimizer, 0.1 / number, number)
            step()
        for one, other in zip(bits(ours, optimizers[0]), bits(theirs, optimizers[1]), strict=True):
            assert torch.equal(one, other)


def test_numbers_of_two_kinds_learn_too():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).double()])
    before = copy.deepcopy(model)
    step = Stepper(build_optimizer(AdamConfig(learning_rate=0.1), model))
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        step()
    for old, new in zip(before.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.2)


def test_a_subclass_that_steps_otherwise_is_obeyed():
    class Still(torch.optim.Adam):
        def step(self, closure=None):
            del closure

    model = network(torch.float32)
    optimizer = Still(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.Adam.step(optimizer)  # so that there is a state
    before = copy.deepcopy(model)
    Stepper(optimizer)()
    for old, new in zip(before.parameters(), model.parameters(), strict=True):
        assert torch.equal(new, old)
