"""What a GPU computes is what a CPU does; run where there is one, or two."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from test_out_of_memory import Wide
from test_process_counts import OfDoubles
from tiny_tasks import classification, translation_task
from torchruns import Torchrun, last_step, wait_until, write_corpus
from toy import VOCAB, ToyBatch, ToyTask, toy_trainer

import seqtrans
from seqtrans import config
from seqtrans.errors import TrainingError
from seqtrans.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.models.images.mlp import Mlp, MlpConfig
from seqtrans.models.images.shape import ImageShape
from seqtrans.models.recurrent_decoder import RecurrentDecoderConfig
from seqtrans.models.transformer import TransformerEncoderConfig
from seqtrans.recipe import load_recipe
from seqtrans.recipe.preparing import check, prepare
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed import join, leave
from seqtrans.training.early_stopping import StoppingConfig
from seqtrans.training.launching import launch
from seqtrans.training.optimizer import SgdConfig
from seqtrans.training.run_directory import create, open_run
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
spawned = multiprocessing.get_context("spawn")  # a fork of a process with CUDA has none
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


def prepare_on_gpu(rank, folder):
    """Prepare and check a run in one of two processes; the most memory that weights took."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.chdir(folder)
    shard = join(f"file://{folder}/rendezvous")
    recipe = load_recipe(folder / "r.yaml")
    if rank == 0:
        create(folder / "run", config.dump(recipe))
    shard.sum([0.0])
    run = open_run(folder / "run")
    prepared = prepare(recipe, run, shard, shard)
    most = torch.cuda.max_memory_allocated()
    assert {parameter.device.type for parameter in prepared.model.parameters()} == {GPU}
    (folder / str(rank)).write_text(f"{most} {sum(p.nbytes for p in prepared.model.parameters())}")
    check(prepared, recipe, run, shard)
    leave()


@on_gpus
def test_a_gpu_is_never_given_the_whole_of_a_model_that_is_shared_out(folder):
    half = "{kind: transformer, num_layers: 6, model_dim: 512, num_heads: 8, ffn_dim: 2048}"
    text = RECIPE.replace("{kind: recurrent, hidden_dim: 16, dropout: 0.0}", half)
    full = "accumulate: 2, processes: {sharding: full}"
    (folder / "r.yaml").write_text(text.replace("accumulate: 2", full))
    workers = [spawned.Process(target=prepare_on_gpu, args=(rank, folder)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
        assert worker.exitcode == 0
    for rank in (0, 1):
        most, whole = map(int, (folder / str(rank)).read_text().split())
        assert whole / 2 <= most < whole * 0.7


@on_gpus
def test_a_process_that_hangs_ends_all_with_one_message(folder):
    """Said by the one that waits, before nccl's watchdog ends it, which knows no step."""
    endless = ("max_steps=1000000", "log_every_steps=1", "processes.timeout_seconds=5")
    settings = [part for key in endless for part in ("--set", f"training.{key}")]
    job = Torchrun(folder, ("--standalone", "--nproc-per-node", "2"), ["--run", "run", *settings])
    wait_until(lambda: last_step(folder / "run") >= 20, job)
    hanging = job.workers()[1]
    os.kill(hanging, signal.SIGSTOP)
    try:
        assert job.wait() != 0
    finally:
        job.end()
    (complaint,) = job.complaints
    assert re.search(r"step \d+: process 0 waited too long for process 1 of 2", complaint)


def wide_updates(room, folder):
    """Two updates in fp64 on a GPU of ``room`` bytes beyond those in use; None: all there are."""
    torch.manual_seed(0)
    token = torch.randint(VOCAB, (2048, 16))
    task = ToyTask(ToyBatch(token, token[:, 0]), ToyBatch(token[:8], token[:8, 0]))
    trainer = toy_trainer(task, Wide().to(GPU, torch.float64))
    trainer.update([task.rows(torch.arange(8))])  # libraries have what they need
    if room:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        most = torch.cuda.memory_reserved() + room
        torch.cuda.set_per_process_memory_fraction(most / total)
    for _ in range(2):
        trainer.update([task.train])
    found = {name: weight.cpu() for name, weight in trainer.raw_model.named_parameters()}
    torch.save((found, trainer.sizes.limit(2) or 0), folder / str(room))


@on_gpu
def test_where_a_gpu_is_too_small_an_update_is_made_in_parts(tmp_path):
    for room in (None, 150_000_000):
        process = spawned.Process(target=wide_updates, args=(room, tmp_path))
        process.start()
        process.join(100)
        assert process.exitcode == 0
    (whole, none), (parts, limit) = (
        torch.load(tmp_path / str(room), weights_only=True) for room in (None, 150_000_000)
    )
    assert none == 0
    assert 0 < limit <= 2048 * 16 * 3 // 4
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match="--devices 2: this machine has 1 GPUs"):
        launch(["train", "r.yaml"], 2)
