"""Weights after some updates do not depend on how many processes made them, nor on sharding."""

import json
from dataclasses import replace

import pytest
import torch
from test_processes import meet
from tiny_tasks import classification, translation_task
from torch import nn

from seqtrans.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.models.images.mlp import Mlp, MlpConfig
from seqtrans.models.images.shape import ImageShape
from seqtrans.models.recurrent_decoder import RecurrentDecoderConfig
from seqtrans.models.transformer import TransformerEncoderConfig
from seqtrans.training.config import ProcessesConfig, TrainingConfig
from seqtrans.training.distributed import ALONE
from seqtrans.training.optimizer import AdamWConfig, SgdConfig
from seqtrans.training.schedule import ConstantConfig
from seqtrans.training.trainer import Trainer

UPDATES = 20
OPTIMIZERS = {
    "sgd": SgdConfig(learning_rate=0.1, momentum=0.9),
    "adamw": AdamWConfig(learning_rate=1e-3),
}


class OfDoubles(nn.Module):
    """An image classifier in fp64; images are fp32."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model(image.double())


def learner(kind, folder):
    """Task and model, both with dropout; micro-batches of an epoch do not fill its last update."""
    torch.manual_seed(0)
    if kind == "images":
        config = MlpConfig(widths=(16,), dropout=0.1)
        model = OfDoubles(Mlp(config, ImageShape(3, 6, 5), 4))
        return replace(classification(augmented=True), accumulate=4), model.double()
    task = replace(translation_task(folder, sampled=False), accumulate=4)
    sizes = (len(segmenter.pieces) for segmenter in task.segmenters)
    encoder = TransformerEncoderConfig(
        num_layers=2, model_dim=16, num_heads=2, ffn_dim=32, dropout=0.1
    )
    decoder = RecurrentDecoderConfig(hidden_dim=16, num_layers=1, dropout=0.1)
    return task, EncoderDecoder(ModelConfig(encoder=encoder, decoder=decoder), *sizes).double()


def trained(kind, optimizer, sharding, shard, folder):
    """Every weight after the updates, whole in every process."""
    task, model = learner(kind, folder)
    config = TrainingConfig(
        max_steps=UPDATES,
        precision="fp32",  # no autocast: all stays in fp64
        clip_norm=0.5,
        optimizer=OPTIMIZERS[optimizer],
        schedule=ConstantConfig(),
        validate_every_steps=10**9,
        processes=ProcessesConfig(sharding=sharding),
    )
    trainer = Trainer(task, model, config, shard=shard)
    updates = (update for epoch in range(99) for update in task.updates(epoch, shard))
    trainer.updater.enter_epoch(0)
    for _ in range(UPDATES):
        trainer.update(next(updates))
    with trainer.updater.replica.whole():
        return {
            name: p.full_tensor() if hasattr(p, "full_tensor") else p.detach().clone()
            for name, p in model.named_parameters()
        }


def _train(shard, folder, kind, optimizer, sharding):
    (folder / f"text{shard.rank}").mkdir()
    found = trained(kind, optimizer, sharding, shard, folder / f"text{shard.rank}")
    plain = {name: weight.tolist() for name, weight in found.items()}
    (folder / f"{shard.rank}.json").write_text(json.dumps(plain))


@pytest.mark.parametrize(
    ("optimizer", "sharding", "world"),
    [("sgd", "none", 2), ("sgd", "none", 4), ("sgd", "full", 2), ("adamw", "full", 4)],
)
@pytest.mark.parametrize("kind", ["translation", "images"])
def test_weights_are_those_of_one_process(kind, optimizer, sharding, world, tmp_path):
    (tmp_path / "alone").mkdir()
    expected = trained(kind, optimizer, "none", ALONE, tmp_path / "alone")
    assert meet(_train, tmp_path, world, kind, optimizer, sharding) == [0] * world
    for rank in range(world):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found.keys() == expected.keys()
        for name, weight in expected.items():
            both = torch.tensor(found[name], dtype=torch.float64), weight
            tolerance = 1e-12 if optimizer == "sgd" else 1e-9  # Adam divides by small moments
            torch.testing.assert_close(*both, rtol=0.0, atol=tolerance, msg=name)
