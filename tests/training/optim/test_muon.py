"""Muon against PyTorch's own, singular values, and AdamW."""

import pytest
import torch
from torch import nn

from seqtrans.training.config import ProcessesConfig, TrainingConfig
from seqtrans.training.optim.muon import hidden_matrices, orthogonalized
from seqtrans.training.optim.optimizer import build_optimizer, set_rates
from seqtrans.training.optim.optimizer_config import AdamWConfig, MuonConfig
from tests.support.toy_training import ToyModel


class Model(nn.Module):
    """Two matrices of one shape, a tall and a wide one, between an embedding and an output."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.hidden = nn.ModuleList(
            [nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 9), nn.Linear(9, 6)]
        )
        self.output = nn.Linear(6, 11)


def learned(config, steps=3, *, bf16=False):
    torch.manual_seed(1)
    model = Model()
    optimizer = build_optimizer(config, model, {"hidden.3.*": 0.5}, bf16=bf16)
    set_rates(optimizer, config.learning_rate, 1)
    learn(model, optimizer, steps)
    return model


def learn(model, optimizer, steps=3):
    for number in range(steps):
        torch.manual_seed(number)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()


@pytest.mark.parametrize("shape", [(3, 20, 20), (2, 16, 64), (2, 64, 16), (1, 1, 7)])
def test_singular_vectors_stay_and_singular_values_become_almost_one(shape):
    matrices = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    result = orthogonalized(matrices)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    projected = u.mT @ result @ v.mT
    assert (projected - torch.diag_embed(projected.diagonal(dim1=1, dim2=2))).abs().max() < 1e-9
    large = s > s.amax(1, keepdim=True) / 100
    values = projected.diagonal(dim1=1, dim2=2)[large]
    assert values.min() > 0.6
    assert values.max() < 1.25
    assert torch.equal(result[:1], orthogonalized(matrices[:1]))  # each as if it were alone


@pytest.mark.parametrize(("bf16", "most"), [(True, 0.02), (False, 0.05)])
def test_matrices_move_as_by_pytorchs_muon_which_multiplies_in_bf16(bf16, most):
    config = MuonConfig(learning_rate=0.01, weight_decay=0.1, momentum=0.9)
    torch.manual_seed(1)
    expected = Model()
    before = [p.detach().clone() for p in expected.hidden.parameters()]
    for linear, rate in zip(expected.hidden, (0.01, 0.01, 0.01, 0.005), strict=True):
        optimizer = torch.optim.Muon(
            [linear.weight],
            lr=rate,
            weight_decay=0.1,
            momentum=0.9,
            adjust_lr_fn="match_rms_adamw",
        )
        for number in range(3):
            torch.manual_seed(number)
            for parameter in expected.parameters():
                gradient = torch.randn_like(parameter)
                if parameter is linear.weight:
                    parameter.grad = gradient
            optimizer.step()
    result = learned(config, bf16=bf16)
    for one, other, start in zip(
        result.hidden.parameters(), expected.hidden.parameters(), before, strict=True
    ):
        if one.ndim == 2:
            moved = (other - start).norm()
            assert (one - other).norm() < most * moved


def test_all_else_moves_as_by_adamw():
    muon = learned(MuonConfig(learning_rate=0.01, weight_decay=0.1, epsilon=1e-8))
    adamw = learned(AdamWConfig(learning_rate=0.01, weight_decay=0.1, epsilon=1e-8))
    theirs = dict(adamw.named_parameters())
    for name, parameter in muon.named_parameters():
        is_hidden = name.startswith("hidden") and parameter.ndim == 2
        assert torch.equal(parameter, theirs[name]) != is_hidden, name


def test_what_is_hidden_lies_between_the_embedding_and_the_output():
    model = Model()
    assert hidden_matrices(model) == {linear.weight for linear in model.hidden}
    model.output.weight = model.embedding.weight
    assert hidden_matrices(model) == {linear.weight for linear in model.hidden}
    assert hidden_matrices(nn.Linear(2, 2)) == set()
    assert hidden_matrices(nn.LayerNorm(2)) == set()


def test_a_matrix_without_a_gradient_stays():
    model = ToyModel()
    optimizer = build_optimizer(MuonConfig(weight_decay=0.5), model)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_matrices_in_parts_are_refused():
    with pytest.raises(ValueError, match="muon multiplies whole matrices: use adamw"):
        TrainingConfig(
            max_steps=1, optimizer=MuonConfig(), processes=ProcessesConfig(sharding="full")
        )
