"""Both families of model, dropout on, subwords sampled: killed at random, equal in every bit."""

import signal

import pytest
import torch

from seqtrans import config
from seqtrans.recipe.load import load_recipe, prepare
from seqtrans.training.checkpoints.run_directory import create, open_run
from seqtrans.training.trainer import Trainer
from seqtrans.translation.data.synthetic import synthetic_pairs
from tests.support.interruption import disturb, enough_steps, files_of, kills

pytestmark = pytest.mark.faults

RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: dev.src, target: dev.tgt}]
  segmentation:
    kind: sentencepiece
    vocab_size: 24
    byte_fallback: false
    sampling: {kind: unigram, alpha: 0.2}
  batch_tokens: 150
model: {encoder: HALF, decoder: HALF}
training:
  max_steps: STEPS
  accumulate: 2
  ema_decay: 0.9
  precision: PRECISION
  schedule: {kind: inverse_square_root, warmup_steps: 10}
  validate_every_steps: 8
  stopping: {metric: chrf}
  checkpoints: {keep_best: 2, keep_last: 2, every_steps: 3, average_best: 2}
validation: {metrics: [chrf], decoding: {beam_size: 1, max_length: 12}}
"""
FAMILIES = {
    "transformer": "{kind: transformer, num_layers: 2, model_dim: 16, num_heads: 2, ffn_dim: 32, "
    "dropout: 0.3, attention_dropout: 0.1, ffn_dropout: 0.2}",
    "recurrent": "{kind: recurrent, hidden_dim: 16, dropout: 0.3, variational_dropout: true}",
    "convolutional": "{kind: convolutional, model_dim: 16, num_layers: 2, dropout: 0.3}",
}


def train(folder, moment=None):
    """Begin or resume the run of the recipe in a folder."""
    torch.set_num_threads(1)
    path = folder / "run"
    recipe = load_recipe(folder / "recipe.yaml")
    if not path.exists():
        create(path, config.dump(recipe))
    run = open_run(path)
    prepared = prepare(recipe, run)
    trainer = Trainer(prepared.task, prepared.model, recipe.training, run=run)
    trainer.resume()
    if moment:
        moment.arm(trainer)
    trainer.fit()


def make(folder, family, precision, steps):
    folder.mkdir()
    for name, count, seed in (("train", 150, 1), ("dev", 8, 2)):
        pairs = list(synthetic_pairs("reverse", count, seed=seed, max_tokens=6))
        for ending, side in (("src", 0), ("tgt", 1)):
            (folder / f"{name}.{ending}").write_text("".join(f"{p[side]}\n" for p in pairs))
    text = RECIPE.replace("HALF", FAMILIES[family]).replace("PRECISION", precision)
    text = text.replace("STEPS", str(steps))
    (folder / "recipe.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_killed_at_random_moments_it_ends_the_same(tmp_path, family, precision, times):
    steps = enough_steps(times)
    straight = make(tmp_path / "straight", family, precision, steps)
    train(straight)
    killed = make(tmp_path / "killed", family, precision, steps)
    codes = disturb(train, killed, kills(steps, times), times)
    assert len(codes) == times
    assert set(codes) == {-signal.SIGKILL}
    found, expected = (files_of(open_run(folder / "run")) for folder in (killed, straight))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
