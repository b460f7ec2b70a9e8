"""What a GPU computes is what a CPU does; run where there is one, or two."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from test_process_counts import OfDoubles
from tiny_tasks import classification, translation_task
from torchruns import write_corpus

import seqtrans
from seqtrans.errors import TrainingError
from seqtrans.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.models.images.mlp import Mlp, MlpConfig
from seqtrans.models.images.shape import ImageShape
from seqtrans.models.recurrent_decoder import RecurrentDecoderConfig
from seqtrans.models.transformer import TransformerEncoderConfig
from seqtrans.training.config import TrainingConfig
from seqtrans.training.early_stopping import StoppingConfig
from seqtrans.training.launching import launch
from seqtrans.training.optimizer import SgdConfig
from seqtrans.training.schedule import ConstantConfig
from seqtrans.training.trainer import Trainer

GPU = "cuda"
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
RECIPE = """
data:
  train: [{source: train.src, target: train.tgt}]
  validation: [{source: dev.src, target: dev.tgt}]
  segmentation: {kind: words}
  batch_tokens: 200
model:
  encoder: {kind: recurrent, hidden_dim: 16, dropout: 0.0}
  decoder: {kind: recurrent, hidden_dim: 16, dropout: 0.0}
training: {max_steps: 12, accumulate: 2, precision: fp32, stopping: {metric: perplexity}}
validation: {metrics: []}
"""
on_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


def learner(kind, folder):
    """Task and model without dropout, which devices draw each in their own way."""
    torch.manual_seed(0)
    if kind == "images":
        return classification(), OfDoubles(Mlp(MlpConfig(widths=(16,)), ImageShape(3, 6, 5), 4))
    task = translation_task(folder, sampled=False)
    none = {"dropout": 0.0}
    encoder = TransformerEncoderConfig(
        num_layers=2, model_dim=16, num_heads=2, ffn_dim=32, embedding_dropout=0.0, **none
    )
    decoder = RecurrentDecoderConfig(hidden_dim=16, num_layers=1, **none)
    sizes = (len(segmenter.pieces) for segmenter in task.segmenters)
    return task, EncoderDecoder(ModelConfig(encoder=encoder, decoder=decoder), *sizes)


def trained(kind, folder, device, dtype, precision):
    """Weights after some updates, on the CPU, and what validation then measures."""
    folder.mkdir()
    task, model = learner(kind, folder)
    config = TrainingConfig(
        max_steps=4,
        precision=precision,
        clip_norm=0.5,
        ema_decay=0.9,
        optimizer=SgdConfig(learning_rate=0.1, momentum=0.9),
        schedule=ConstantConfig(),
        validate_every_steps=4,
        stopping=StoppingConfig(metric="loss"),
    )
    trainer = Trainer(task, model.to(device, dtype), config)
    assert trainer.updater.bf16 is (precision == "bf16")
    trainer.fit()
    weights = {name: p.detach().cpu() for name, p in model.named_parameters()}
    return weights, trainer.validate()


@on_gpu
@pytest.mark.parametrize("kind", ["translation", "images"])
def test_training_on_a_gpu_is_training_on_a_cpu(kind, tmp_path):
    exactly = (torch.float64, "fp32")  # no autocast: all stays in fp64
    weights, metrics = trained(kind, tmp_path / "cpu", "cpu", *exactly)
    found, measured = trained(kind, tmp_path / "gpu", GPU, *exactly)
    torch.testing.assert_close(found, weights, rtol=1e-9, atol=1e-9)
    assert measured == pytest.approx(metrics, rel=1e-5)  # images are judged in fp32


@on_gpu
def test_in_bf16_weights_stay_in_fp32_and_go_nearly_the_same_way(tmp_path):
    weights, metrics = trained("translation", tmp_path / "fp32", GPU, torch.float32, "fp32")
    rounded, measured = trained("translation", tmp_path / "bf16", GPU, torch.float32, "bf16")
    assert {weight.dtype for weight in rounded.values()} == {torch.float32}
    assert any(not torch.equal(rounded[name], weight) for name, weight in weights.items())
    torch.testing.assert_close(rounded, weights, rtol=0.0, atol=2e-2)
    assert measured == pytest.approx(metrics, rel=2e-2)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE)
    write_corpus(tmp_path)
    return tmp_path


def train(folder, *arguments):
    command = [sys.executable, "-m", "seqtrans", "train", "r.yaml", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr


@on_gpu
def test_a_gpu_translates_as_a_cpu_does(folder):
    assert f"on {GPU}" in train(folder, "--run", "run")
    lines = (folder / "dev.src").read_text().splitlines()
    gpu, cpu = (
        list(seqtrans.load(folder / "run", device=device, precision="fp32").stream(lines))
        for device in (GPU, "cpu")
    )
    assert [one.text for one in gpu] == [one.text for one in cpu]
    assert [one.score for one in gpu] == pytest.approx([one.score for one in cpu], rel=1e-3)


@on_gpus
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_gpus_learn_the_weights_of_one(folder, sharding):
    train(folder, "--run", "one")
    sharded = ("--set", f"training.processes.sharding={sharding}")
    train(folder, "--run", "two", "--devices", "2", *sharded)
    one, two = (
        load_file(folder / run / "checkpoints" / "12" / "model.safetensors")
        for run in ("one", "two")
    )
    torch.testing.assert_close(two, one, rtol=0.0, atol=2e-5)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match="--devices 2: this machine has 1 GPUs"):
        launch(["train", "r.yaml"], 2)
