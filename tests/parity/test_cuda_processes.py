"""Several processes that have a GPU each; run where there are two."""

import multiprocessing
import os
import re
import signal
from itertools import islice

import pytest
import torch
from safetensors.torch import load_file

from seqtrans import config
from seqtrans.errors import TrainingError
from seqtrans.recipe.load import load_recipe, prepare
from seqtrans.training.checkpoints.run_directory import create, open_run
from seqtrans.training.distributed.launch import launch
from seqtrans.training.distributed.process_group import leave
from seqtrans.training.distributed.rendezvous import connect
from seqtrans.training.preflight import check
from seqtrans.training.trainer import Trainer
from tests.support.gpus import GPU, RECIPE, on_gpus, prepared, train
from tests.support.torchrun import Torchrun, last_step, wait_until

spawned = multiprocessing.get_context("spawn")  # a fork of a process with CUDA has none


@pytest.fixture
def folder(tmp_path):
    return prepared(tmp_path)


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
    """Prepare and check a run in one of two processes, and make two updates of it.

    What is written: the most memory that weights took while they went there, and training; all
    that weights take.
    """
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.chdir(folder)
    together = connect(f"file://{folder}/rendezvous")
    recipe = load_recipe(folder / "r.yaml")
    together.once("run", lambda: create(folder / "run", config.dump(recipe)).path.name)
    run = open_run(folder / "run")
    prepared = prepare(recipe, run, together)
    group = prepared.group
    most = torch.cuda.max_memory_allocated()
    assert {parameter.device.type for parameter in prepared.model.parameters()} == {GPU}
    whole = sum(parameter.nbytes for parameter in prepared.model.parameters())
    check(prepared, recipe.training, run)
    trainer = Trainer(prepared.task, prepared.model, recipe.training, run=run, group=group)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    for micro_batches in islice(prepared.task.updates(0, group, 0), 2):
        trainer.update(micro_batches)
    training = torch.cuda.max_memory_allocated()
    (folder / str(rank)).write_text(f"{most} {training} {whole}")
    leave()


@on_gpus
def test_a_gpu_is_never_given_the_whole_of_a_model_that_is_shared_out(folder):
    """Half of weights, gradients and Adam's moments is twice the weights; alone it is four times.

    Beside them it has two layers and their gradients, and activations.
    """
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
        most, training, whole = map(int, (folder / str(rank)).read_text().split())
        assert whole / 2 <= most < whole * 0.7
        assert whole * 2 <= training < whole * 3


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


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match="--devices 2: this machine has 1 GPUs"):
        launch(["train", "r.yaml"], 2)
