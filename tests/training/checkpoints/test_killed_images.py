"""Every family of networks, with dropout and mixed images: killed, equal in every bit."""

import signal

import pytest
import torch

from seqtrans import config
from seqtrans.images.recipe.build import builder_files
from seqtrans.recipe.load import load_recipe, prepare
from seqtrans.training.checkpoints.run_directory import create, open_run
from seqtrans.training.preflight import check
from seqtrans.training.reporting.loggers import JsonLinesLogger
from seqtrans.training.trainer import Trainer
from tests.support.interruption import disturb, enough_steps, files_of, history, kills
from tests.support.shape_images import write_shapes

pytestmark = pytest.mark.faults

RECIPE = """
task: classification
data:
  train: {kind: npz, path: train.npz}
  validation: {kind: fraction, fraction: 0.2}
  augmentation: {pad_crop: 1, flip: 0.5, rotate: 10, cutout: 3, mixup: 0.2}
  batch_size: 7
  resize: SIZE
model: MODEL
label_smoothing: 0.1
training:
  max_steps: STEPS
  accumulate: 2
  ema_decay: 0.9
  precision: PRECISION
  optimizer: {kind: sgd, learning_rate: 0.1, momentum: 0.9, nesterov: true, weight_decay: 5e-4}
  schedule: {kind: cosine, warmup_steps: 10}
  validate_every_steps: 8
  log_every_steps: 5
  stopping: {metric: accuracy, patience: null}
  checkpoints: {keep_best: 2, keep_last: 2, every_steps: 3, average_best: 2}
"""
MODELS = {
    "cnn": "{kind: cnn, blocks: [{filters: 4, pool: max}, {filters: 6, residual: true, "
    "dropout: 0.2}], widths: [8], dropout: 0.3}",
    "resnet": "{kind: resnet, depth: 20, stem: cifar}",
    "perceptron": "{kind: perceptron}",
    "mlp": "{kind: mlp, widths: [16], dropout: 0.3}",
    "lenet": "{kind: lenet, filters: [4, 6], widths: [8], dropout: 0.2}",
    "efficientnet_lite": "{kind: efficientnet_lite, dropout: 0.2}",
    "resnext": "{kind: resnext, depth: 50, cardinality: 2, width_per_group: 2, stem: cifar}",
    "vgg": "{kind: vgg, depth: 11, batch_norm: true, hidden_dim: 6}",
    "inception_v3": "{kind: inception_v3}",
    "keras": '{kind: keras, build: "mine:build"}',
}
SIZES = {"vgg": 32, "inception_v3": 75}  # that they need
NORMALIZE = {"cnn", "resnet", "efficientnet_lite", "resnext", "vgg", "inception_v3"}
KERAS = """
from keras import Sequential, layers


def build(shape, num_classes):
    first = [layers.Input(shape), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()]
    return Sequential([*first, layers.Flatten(), layers.Dropout(0.3), layers.Dense(num_classes)])
"""
OFTEN = [("cnn", "fp32"), ("cnn", "bf16"), ("resnet", "bf16")]
OTHERS = [
    *(("perceptron", "fp32"), ("mlp", "bf16"), ("lenet", "bf16"), ("efficientnet_lite", "fp32")),
    *(("resnext", "fp32"), ("vgg", "bf16"), ("inception_v3", "fp32"), ("keras", "fp32")),
]


def train(folder, moment=None):
    """Begin or resume the run of the recipe in a folder, as the command does."""
    torch.set_num_threads(1)
    path = folder / "run"
    recipe = load_recipe(folder / "recipe.yaml")
    if not path.exists():
        create(path, config.dump(recipe), files=builder_files(recipe, folder))
    run = open_run(path)
    prepared = prepare(recipe, run)
    check(prepared, recipe.training, run)
    loggers = [JsonLinesLogger(run.metrics)]
    trainer = Trainer(prepared.task, prepared.model, recipe.training, run=run, loggers=loggers)
    trainer.resume()
    if moment:
        moment.arm(trainer)
    trainer.fit()


def make(folder, model, precision, steps):
    folder.mkdir()
    write_shapes(folder / "train.npz", 120, seed=1)
    side = SIZES.get(model)
    size = f"{{height: {side}, width: {side}}}" if side else "null"
    text = RECIPE.replace("MODEL", MODELS[model]).replace("PRECISION", precision)
    text = text.replace("STEPS", str(steps))
    (folder / "recipe.yaml").write_text(text.replace("SIZE", size))
    (folder / "mine.py").write_text(KERAS)
    return folder


@pytest.mark.parametrize(
    ("model", "precision", "times"),
    [
        *((*kind, 3) for kind in OFTEN),
        *(pytest.param(*kind, 50, marks=pytest.mark.slow) for kind in OFTEN + OTHERS),
    ],
)
def test_killed_at_random_moments_it_ends_the_same(tmp_path, model, precision, times):
    steps = enough_steps(times)
    straight = make(tmp_path / "straight", model, precision, steps)
    train(straight)
    killed = make(tmp_path / "killed", model, precision, steps)
    codes = disturb(train, killed, kills(steps, times), times)
    assert len(codes) == times
    assert set(codes) == {-signal.SIGKILL}
    runs = [open_run(folder / "run") for folder in (killed, straight)]
    found, expected = map(files_of, runs)
    assert found.keys() == expected.keys()
    assert any("running_mean" in name for name in expected) == (model in NORMALIZE)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert history(runs[0]) == history(runs[1])
