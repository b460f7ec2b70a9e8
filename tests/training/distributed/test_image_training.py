"""Two processes learn from images what one learns, batch normalisation and all."""

import os
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from seqtrans.images.data.augment import AugmentConfig
from seqtrans.images.data.batches import ImageEpochs
from seqtrans.images.data.normalize import measure
from seqtrans.images.models.cnn import BlockConfig, Cnn, CnnConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.keras import KerasConfig, build_keras_model
from seqtrans.images.task import ClassificationTask
from seqtrans.training.checkpoints.format import read_state
from seqtrans.training.checkpoints.weights import named_weights
from seqtrans.training.distributed.process_group import leave
from seqtrans.training.distributed.rendezvous import connect
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.training.trainer import Trainer
from tests.support.processes import processes
from tests.support.shape_images import shape_set
from tests.support.threads_as_processes import together
from tests.support.toy_training import toy_config, toy_run

pytestmark = pytest.mark.processes

STEPS = 8
BLOCKS = (BlockConfig(filters=4, pool="max"), BlockConfig(filters=6, residual=True))
METRICS = ("loss", "accuracy")


BUILDER = """
import keras
from keras import layers


def network(shape, num_classes):
    start = layers.Input(shape), layers.Conv2D(4, 3, strides=2), layers.BatchNormalization()
    end = layers.ReLU(), layers.Dropout(0.3, seed=1), layers.Flatten(), layers.Dense(num_classes)
    return keras.Sequential([*start, *end])
"""


class Exact(torch.nn.Module):
    """A network that computes in fp64, so that sums in another order are the same."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = Cnn(CnnConfig(blocks=BLOCKS), ImageShape(1, 12, 12), 3).double()

    def forward(self, images):
        return self.network(images.double())


def classification():
    """Of 59 images, batches have 8; the two micro-batches of an epoch's last update 8 and 3."""
    images = shape_set(59, seed=1)
    changes = AugmentConfig(pad_crop=1, mixup=0.3)
    epochs = ImageEpochs(images, 8, 3, measure(images.images), changes)
    return ClassificationTask(epochs, shape_set(41, seed=2), accumulate=2, label_smoothing=0.1)


def model_of(folder):
    """Keras's, in fp32, where the folder has its builder."""
    if not (folder / "mine.py").exists():
        return Exact()
    torch.manual_seed(0)
    return build_keras_model(KerasConfig(build="mine:network"), ImageShape(1, 12, 12), 3, folder)


def trainer(folder, group=SINGLE_PROCESS, run=None):
    config = toy_config(max_steps=STEPS, validate_every_steps=STEPS, ema_decay=0.5)
    return Trainer(classification(), model_of(folder), config, run=run, group=group)


def _train_together(rank, folder):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    group = connect(f"file://{folder}/rendezvous").join()
    if rank == 0:
        toy_run(folder / "run")
    dist.barrier()
    together = trainer(folder, group, toy_run(folder / "run"))
    together.fit()
    found = {name: tensor.clone() for name, tensor in named_weights(together.raw_model).items()}
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    leave()


@pytest.fixture(scope="module", params=["cnn", "keras"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    if request.param == "keras":
        (folder / "mine.py").write_text(BUILDER)
    workers = [processes.Process(target=_train_together, args=(i, folder)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        worker.kill()
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    return folder


@pytest.fixture(scope="module")
def pair(folder):
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def is_statistic(name):
    return any(word in name for word in ("running", "tracked", "moving"))


def test_an_update_is_shared_unevenly():
    sizes = [
        [b.num_targets for b in update] for update in classification().updates(0, SINGLE_PROCESS)
    ]
    assert sizes[-1] == [8, 3]


def test_more_processes_than_images_judge_as_one(folder):
    task, model = classification(), model_of(folder).eval()
    few = replace(task, validation=shape_set(2, seed=2))

    def validate(group):
        with torch.inference_mode():
            return few.validate(model, group)

    assert together(3, validate) == [pytest.approx(validate(SINGLE_PROCESS))] * 3


def test_they_learn_the_weights_that_one_learns(pair, folder):
    """Statistics are of micro-batches, which are the same however many processes share them."""
    alone = trainer(folder)
    before = {n: p.clone() for n, p in alone.raw_model.named_parameters()}
    alone.fit()
    for name, parameter in alone.raw_model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    near = 1e-12 if isinstance(alone.raw_model, Exact) else 1e-5
    learnt = {n: p for n, p in named_weights(alone.raw_model).items() if not is_statistic(n)}
    assert len(learnt) >= 6
    for found in pair:
        for name, tensor in learnt.items():
            torch.testing.assert_close(found[name], tensor, atol=near, rtol=near)


def test_they_end_with_one_and_the_same_statistics(pair):
    names = [name for name in pair[0] if is_statistic(name)]
    assert any(name.endswith(("running_mean", "moving_mean")) for name in names)
    for name in names:
        assert torch.equal(pair[0][name], pair[1][name]), name


def test_what_they_measured_is_true_of_what_they_saved(folder):
    saved = toy_run(folder / "run")
    judge = trainer(folder, run=saved)
    assert judge.resume()
    stored = read_state(saved.at(STEPS))["metrics"]
    assert judge.validate() == pytest.approx({name: stored[name] for name in METRICS}, rel=1e-6)
