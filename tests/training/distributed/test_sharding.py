"""With ``sharding: full`` no process ever has the whole model, but while it decodes."""

import gc
import json
import os
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from seqtrans import config
from seqtrans.errors import RecipeError, TrainingError
from seqtrans.images import task as tasks
from seqtrans.recipe.load import load_recipe, prepare
from seqtrans.training.checkpoints.run_directory import create, open_run
from seqtrans.training.config import ProcessesConfig
from seqtrans.training.distributed.process_group import leave
from seqtrans.training.distributed.rendezvous import connect
from seqtrans.training.distributed.sharded_tensors import is_part, own_part
from seqtrans.training.distributed.wrappers import shard_weights
from seqtrans.training.oom import MicroBatchSizeLimits
from seqtrans.training.preflight import check, checkpoint_size, try_largest_batch
from seqtrans.training.reporting.loggers import JsonLinesLogger
from seqtrans.training.trainer import Trainer
from tests.support.memory_shortage import Deep, Short
from tests.support.processes import meet
from tests.support.shape_images import write_shapes
from tests.support.torchrun import write_corpus
from tests.support.toy_training import ToyModel, toy_config, toy_run, toy_task, toy_trainer

pytestmark = pytest.mark.processes

WORLD = 2
LAYERS = 4
RECIPE = f"""
data:
  train: [{{source: train.src, target: train.tgt}}]
  validation: [{{source: dev.src, target: dev.tgt}}]
  segmentation: {{kind: words}}
  batch_tokens: 200
model:
  encoder: &half
    {{kind: transformer, num_layers: {LAYERS}, model_dim: 32, num_heads: 2, ffn_dim: 64}}
  decoder: *half
training:
  max_steps: 6
  accumulate: 2
  optimizer: {{kind: sgd, learning_rate: 0.1, momentum: 0.9}}
  schedule: {{kind: constant}}
  precision: fp32
  freeze: ["encoder.layers.0.*"]
  stopping: {{metric: chrf}}
  processes: {{sharding: full}}
validation: {{metrics: [chrf]}}
"""


def elements(tensors):
    return sum(tensor.numel() for tensor in tensors)


def held():
    """Elements of all tensors of floating point that this process has memory for."""
    gc.collect()
    found = {}
    for one in gc.get_objects():
        if issubclass(type(one), torch.Tensor) and one.is_floating_point() and not is_part(one):
            storage = one.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes() // one.element_size()
    return sum(found.values())


class Watch:
    """The most elements of weights that a model has whole, learning and (``True``) validating."""

    def __init__(self, model):
        self.model, self.most = model, {}

    def __call__(self, *_):
        judges = not torch.is_grad_enabled()
        whole = elements(p for p in self.model.parameters() if not is_part(p))
        self.most[judges] = max(whole, self.most.get(judges, 0))


def _run(processes, folder):
    os.chdir(folder)
    recipe = load_recipe(folder / "r.yaml")
    processes.once("run", lambda: create(folder / "run", config.dump(recipe)).path.name)
    run = open_run(folder / "run")
    before = held()
    with mock.patch.object(nn.Module, "to", side_effect=AssertionError("moved whole")):
        prepared = prepare(recipe, run, processes)
    model, found = prepared.model, {"held": held() - before}
    found["all"] = elements(model.parameters())
    found["part"] = elements(own_part(p) for p in model.parameters())
    layers = [*model.encoder.layers, *model.decoder.layers]
    found["layers"] = [elements(layer.parameters()) for layer in layers]
    found["checkpoint"] = checkpoint_size(model, recipe.training)
    first = next(model.parameters()).to_local().clone()
    for what, rehearses in (("checked", True), ("trained", False)):
        watch = Watch(model)
        with register_module_forward_hook(watch):
            if rehearses:
                check(prepared, recipe.training, run)
                assert all(is_part(p) and p.grad is None for p in model.parameters())
                assert torch.equal(next(model.parameters()).to_local(), first)
            else:
                loggers = [JsonLinesLogger(run.metrics)]
                how = {"run": run, "loggers": loggers, "group": prepared.group}
                Trainer(prepared.task, model, recipe.training, **how).fit()
        found[what] = [watch.most[False], watch.most.get(True)]
    (folder / f"{processes.rank}.json").write_text(json.dumps(found))


def _run_alone(_, folder):
    os.chdir(folder)
    recipe = load_recipe(folder / "r.yaml")
    run = create(folder / "alone", config.dump(recipe))
    prepared = prepare(recipe, run)
    loggers = [JsonLinesLogger(run.metrics)]
    Trainer(prepared.task, prepared.model, recipe.training, run=run, loggers=loggers).fit()


@pytest.fixture
def folder(tmp_path):
    write_corpus(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path


def last_loss(run):
    """Of the last validation."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["valid/loss"] for line in lines if "valid/loss" in line][-1]


def test_no_process_has_the_whole_model_but_to_decode(folder):
    assert meet(_run, folder, WORLD, joined=False) == [0] * WORLD
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]
    everything = found[0]["all"]
    assert sum(one["part"] for one in found) == everything

    for one in found:
        assert one["part"] <= one["held"] < everything * 0.6
        remainder = everything - sum(one["layers"])
        learning = remainder + max(one["layers"])
        assert learning < everything / 2
        assert one["checked"] == [learning, everything]
        assert one["trained"][0] == learning
        assert one["checkpoint"] >= 2 * 4 * everything  # weights and momentum, of all processes
    assert [one["trained"][1] for one in found] == [everything, None]  # one had nothing to judge
    assert meet(_run_alone, folder, 1) == [0]
    learnt, expected = (
        load_file(folder / name / "checkpoints" / "6" / "model.safetensors")
        for name in ("run", "alone")
    )
    torch.testing.assert_close(learnt, expected, rtol=0.0, atol=2e-5)  # of fp32, added otherwise


@pytest.mark.parametrize("tokens", [4096, 24])
def test_no_process_ever_has_the_whole_model_where_nothing_is_decoded(folder, tokens):
    """One batch for two processes, and five."""
    text = RECIPE.replace(
        "{metrics: [chrf]}", f"{{metrics: [], decoding: {{batch_tokens: {tokens}}}}}"
    )
    (folder / "r.yaml").write_text(text.replace("metric: chrf", "metric: perplexity"))
    assert meet(_run, folder, WORLD, joined=False) == [0] * WORLD
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]
    for one in found:
        learning = one["all"] - sum(one["layers"]) + max(one["layers"])
        assert one["checked"] == [learning, learning]
        assert one["trained"] == [learning, learning]
    assert meet(_run_alone, folder, 1) == [0]
    assert last_loss(folder / "run") == pytest.approx(last_loss(folder / "alone"), rel=1e-6)


JUDGED = (1, 3, 7, 8)  # images: too few, a batch for each process, one more for one, two for each
PICTURES = """
task: classification
data: {train: {kind: npz, path: train.npz}, validation: {kind: npz, path: valid.npz}, batch_size: 8}
model: {kind: mlp, widths: [16, 16]}
training:
  max_steps: 6
  accumulate: 2
  validate_every_steps: 2
  schedule: {kind: constant}
  processes: {sharding: full}
  stopping: {metric: accuracy}
"""


def _classify(processes, folder):
    for images in JUDGED:
        place = folder / str(images)
        _classify_some(connect(f"file://{place}/rendezvous-{processes.world_size}"), place)
        leave()


def _classify_some(processes, folder):
    os.chdir(folder)
    recipe = load_recipe(folder / "r.yaml")
    name = "run" if processes.world_size > 1 else "alone"
    processes.once("run", lambda: create(folder / name, config.dump(recipe)).path.name)
    run = open_run(folder / name)
    prepared = prepare(recipe, run, processes)
    check(prepared, recipe.training, run)
    loggers, watch = [JsonLinesLogger(run.metrics)], Watch(prepared.model)
    with mock.patch.object(tasks, "EVALUATED", 3), register_module_forward_hook(watch):
        how = {"run": run, "loggers": loggers, "group": prepared.group}
        Trainer(prepared.task, prepared.model, recipe.training, **how).fit()
    everything = elements(prepared.model.parameters())
    assert (watch.most[True] < everything) is (processes.world_size > 1)


def test_nor_where_images_are_classified(tmp_path):
    for images in JUDGED:
        folder = tmp_path / str(images)
        folder.mkdir()
        write_shapes(folder / "train.npz", 40, seed=1)
        write_shapes(folder / "valid.npz", images, seed=2)
        (folder / "r.yaml").write_text(PICTURES)
    assert meet(_classify, tmp_path, WORLD, joined=False) == [0] * WORLD
    assert meet(_classify, tmp_path, 1, joined=False) == [0]
    for images in JUDGED:
        losses = [last_loss(tmp_path / str(images) / name) for name in ("run", "alone")]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5), images


def _judge_alone(group, _folder):
    full = ProcessesConfig(sharding="full")
    trainer = toy_trainer(toy_task(accumulate=2), Deep(), group=group, processes=full)
    model = trainer.raw_model
    for last in (3, 1, 2):
        with trainer.updater.replica.unsharded(), torch.inference_mode():
            for layer in model.hidden[: last if group.rank == 0 else 0]:
                layer(torch.ones(1, 400))
        trainer.update(next(trainer.task.updates(0, group)))


def test_processes_may_use_the_whole_model_unequally_often(tmp_path):
    assert meet(_judge_alone, tmp_path, WORLD, patience=10) == [0] * WORLD


def _check_short(group, folder, cap):
    config = toy_config()
    model, run = ToyModel(), toy_run(folder / "run")
    shard_weights(model, ProcessesConfig(sharding="full"), group)
    sizes = MicroBatchSizeLimits(run.sizes)
    sizes.read(group)
    task = Short(toy_task(batch_size=12), cap if group.rank == 0 else 10**9)
    step = 7 if (folder / "goes on").exists() else None
    try:
        found = try_largest_batch(task, model, config, group, sizes, step)
    except TrainingError as error:
        (folder / "said").write_text(str(error))
        os._exit(3)
    assert found.fitting < found.targets == 12


def test_where_memory_runs_out_in_one_process_all_end_and_one_says_why(tmp_path):
    toy_run(tmp_path / "run")
    for remedy, words in (("", "take smaller batches"), ("goes on", "go on with --resume, by")):
        if remedy:
            (tmp_path / remedy).touch()
        first, second = meet(_check_short, tmp_path, WORLD, 50)
        assert first == 3
        assert second not in (0, None)  # it waited in vain, but not for ever
        said = (tmp_path / "said").read_text()
        assert said.startswith("the largest batch, of 12 targets, does not fit into memory, and ")
        assert words in said
        assert "\n" not in said
        assert toy_run(tmp_path / "run").sizes.exists() is bool(remedy)
        (tmp_path / "rendezvous").unlink()
    assert meet(_check_short, tmp_path, WORLD, 50) == [0, 0]  # in parts, as it learnt


@pytest.mark.parametrize(
    "key", ["data.batch_tokens", "decoding.batch_tokens", "validation.decoding.batch_tokens"]
)
def test_sizes_that_no_process_can_measure_are_refused(folder, key):
    message = rf"{key} needs a number where training\.processes\.sharding is full"
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(folder / "r.yaml", [f"{key}=auto"])
    assert "\n" not in str(caught.value)
    load_recipe(folder / "r.yaml", [f"{key}=auto", "training.processes.sharding=none"])


IMAGES = """
task: classification
data:
  train: {kind: npz, path: r.yaml}
  validation: {kind: fraction, fraction: 0.2}
  batch_size: auto
model: {kind: mlp, widths: [8]}
training: {max_steps: 2, stopping: {metric: accuracy}, processes: {sharding: full}}
"""


def test_nor_are_sizes_of_batches_of_images(folder):
    (folder / "r.yaml").write_text(IMAGES)
    with pytest.raises(RecipeError, match=r"r\.yaml.*: data\.batch_size needs a number where"):
        load_recipe(folder / "r.yaml")
