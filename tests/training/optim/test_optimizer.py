"""One step of every optimizer against the formulas of its paper, in fp64."""

import math

import pytest
import torch
from torch import nn

from seqtrans.errors import CheckpointError, TrainingError
from seqtrans.training.checkpoints.weights import named_moments, restore_moments
from seqtrans.training.optim.ema import MovingAverage
from seqtrans.training.optim.freezing import Freezing
from seqtrans.training.optim.optimizer import (
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    MuonConfig,
    ScheduleFreeAdamWConfig,
    SgdConfig,
    build_optimizer,
    moments_per_weight,
)
from tests.support.toy_training import ToyModel

OPTIMIZERS = {
    "sgd": SgdConfig(),
    "momentum": SgdConfig(momentum=0.9),
    "nesterov": SgdConfig(momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": AdamConfig(),
    "adamw": AdamWConfig(),
    "adafactor": AdafactorConfig(),
    "muon": MuonConfig(),
    "schedule_free_adamw": ScheduleFreeAdamWConfig(),
}


def two_steps(config, weight=3.0, gradients=(2.0, -1.0)):
    """A matrix and a vector that hold the same number, after two steps on given gradients."""
    model = nn.Linear(1, 1).double()
    nn.init.constant_(model.weight, weight)
    nn.init.constant_(model.bias, weight)
    optimizer = build_optimizer(config, model)
    for gradient in gradients:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    return model.weight.item(), model.bias.item()


def adam(weight, gradients, rate, betas, epsilon, decay=0.0):
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        weight -= rate * decay * weight
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        corrected = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        weight -= rate * corrected[0] / (math.sqrt(corrected[1]) + epsilon)
    return weight


def test_adam_follows_its_paper():
    config = AdamConfig(learning_rate=0.1, betas=(0.8, 0.95), epsilon=1e-3)
    expected = adam(3.0, (2.0, -1.0), 0.1, (0.8, 0.95), 1e-3)
    assert two_steps(config) == pytest.approx((expected, expected), rel=1e-12)


def test_adamw_decays_matrices_and_spares_vectors():
    config = AdamWConfig(learning_rate=0.1, betas=(0.8, 0.95), epsilon=1e-3, weight_decay=0.3)
    decayed = adam(3.0, (2.0, -1.0), 0.1, (0.8, 0.95), 1e-3, decay=0.3)
    spared = adam(3.0, (2.0, -1.0), 0.1, (0.8, 0.95), 1e-3)
    assert two_steps(config) == pytest.approx((decayed, spared), rel=1e-12)


def test_sgd_with_and_without_momentum():
    assert two_steps(SgdConfig(learning_rate=0.1))[0] == pytest.approx(3.0 - 0.2 + 0.1)
    # velocity 2, then 0.5 * 2 - 1 = 0; Nesterov looks ahead: 0.5 * v + g
    plain = SgdConfig(learning_rate=0.1, momentum=0.5)
    assert two_steps(plain)[0] == pytest.approx(3.0 - 0.1 * (2.0 + 0.0))
    ahead = SgdConfig(learning_rate=0.1, momentum=0.5, nesterov=True)
    assert two_steps(ahead)[0] == pytest.approx(3.0 - 0.1 * (3.0 - 1.0))
    decayed = SgdConfig(learning_rate=0.1, weight_decay=0.5)
    assert two_steps(decayed, gradients=(2.0,)) == pytest.approx((3.0 - 0.1 * 3.5, 3.0 - 0.2))


def test_adafactor_steps_relative_to_the_weight():
    # On the first step the update is g / |g|, scaled by rms(weight) * min(rate, 1 / sqrt(1)).
    matrix, vector = two_steps(AdafactorConfig(learning_rate=0.01), gradients=(2.0,))
    assert (matrix, vector) == pytest.approx((3.0 - 0.03, 3.0 - 0.03), rel=1e-6)


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match="nesterov is true but momentum is 0"):
        SgdConfig(nesterov=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_come_back_by_name_and_bit_for_bit(name):
    config = OPTIMIZERS[name]
    model = ToyModel()
    optimizer = build_optimizer(config, model)
    model(torch.randint(0, 9, (4, 5))).sum().backward()
    model.hidden.bias.grad = None  # one parameter that was never updated
    optimizer.step()
    saved = {key: value.clone() for key, value in named_moments(model, optimizer).items()}
    other = build_optimizer(config, model)
    restore_moments(model, other, saved, "here")
    found = named_moments(model, other)
    assert found.keys() == saved.keys()
    for key, value in saved.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key
    assert not any(key.endswith(":hidden.bias") and "buffer" not in key for key in saved)
    held = sum(v.numel() for k, v in saved.items() if not k.startswith("step:"))
    assert held <= moments_per_weight(config) * sum(p.numel() for p in model.parameters())


def test_moments_of_parameters_that_are_not_trained_here_are_refused():
    model = ToyModel()
    optimizer = build_optimizer(AdamConfig(), model)
    model(torch.randint(0, 9, (4, 5))).sum().backward()
    optimizer.step()
    saved = named_moments(model, optimizer)
    Freezing(model, ["norm.*"]).enter(0)
    with pytest.raises(CheckpointError, match=r"here trained norm\.bias, which is not trained"):
        restore_moments(model, build_optimizer(AdamConfig(), model), saved, "here")


def test_freezing_takes_exactly_the_matching_parameters_out():
    model = ToyModel()
    Freezing(model, ["norm.*", "hidden.bias"]).enter(0)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"norm.weight", "norm.bias", "hidden.bias"}
    optimizer = build_optimizer(AdamConfig(), model)
    trained = sum(len(group["params"]) for group in optimizer.param_groups)
    assert trained == len(list(model.parameters())) - 3


def test_a_pattern_that_matches_nothing_is_an_error_that_helps():
    with pytest.raises(TrainingError, match=r"matches 'hiden\.weight'; there are hidden\.weight"):
        Freezing(ToyModel(), ["hiden.weight"])
    with pytest.raises(TrainingError, match="leave no parameter to train"):
        Freezing(ToyModel(), ["*"])


def test_the_moving_average_is_the_weighted_mean_of_all_weights_so_far():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 1.0)
    average = MovingAverage(model, decay=0.5)
    expected = 1.0
    for step, value in enumerate((2.0, -1.0, 5.0, 7.0), start=1):
        nn.init.constant_(model.weight, value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with average.applied():
        assert model.weight.item() == pytest.approx(expected, rel=1e-12)
    assert model.weight.item() == 7.0


@pytest.mark.parametrize("config", [AdamConfig(), AdamWConfig(weight_decay=0.0), SgdConfig()])
def test_without_decay_all_parameters_are_one_group(config):
    model = ToyModel()
    (group,) = build_optimizer(config, model).param_groups
    assert len(group["params"]) == len(list(model.parameters()))
    assert len(build_optimizer(AdamWConfig(), model).param_groups) == 2
