"""Where memory runs out, an update is what it would have been: in parts, on all processes alike.

SGD without clipping, in fp64, because Adam and clipping hide a constant factor in the gradient.
"""

import os
import re
import resource
from pathlib import Path

import pytest
import torch

from seqtrans.errors import CheckpointError, TrainingError
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.mlp import Mlp, MlpConfig
from seqtrans.training.config import CheckpointsConfig, ProcessesConfig
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.training.oom import MicroBatchSizeLimits
from seqtrans.training.optim.optimizer import SgdConfig
from seqtrans.training.trainer import Trainer
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.transformer import TransformerEncoderConfig
from tests.support.interruption import HARD, assert_same, history
from tests.support.memory_shortage import Deep, Short, Wide
from tests.support.processes import meet, processes
from tests.support.threads_as_processes import together
from tests.support.tiny_tasks import OfDoubles, classification, translation_task
from tests.support.toy_training import (
    VOCAB,
    ToyBatch,
    ToyModel,
    ToyTask,
    toy_config,
    toy_run,
    toy_task,
    toy_trainer,
    weights,
)

EXACT = {"atol": 1e-12, "rtol": 1e-12}
EVERYWHERE = range(99)
RANKS = [(0,), (1,), (0, 1)]


def learner(kind, folder):
    """A task of micro-batches of one size or another, and a model without dropout, in fp64."""
    torch.manual_seed(0)
    if kind == "toy":
        return toy_task(batch_size=12, accumulate=4), Deep().double()
    if kind == "images":
        model = Mlp(MlpConfig(widths=(16,)), ImageShape(3, 6, 5), 4)
        task = classification(augmented=True)
        return type(task)(**{**vars(task), "accumulate": 4}), OfDoubles(model).double()
    task = translation_task(folder, sampled=False)
    task = type(task)(**{**vars(task), "accumulate": 4})
    sizes = (len(segmenter.pieces) for segmenter in task.segmenters)
    encoder = TransformerEncoderConfig(
        num_layers=1, model_dim=16, num_heads=2, ffn_dim=32, dropout=0.0, embedding_dropout=0.0
    )
    decoder = RecurrentDecoderConfig(hidden_dim=16, num_layers=1, dropout=0.0)
    return task, EncoderDecoder(ModelConfig(encoder=encoder, decoder=decoder), *sizes).double()


def trained(task, model, group=SINGLE_PROCESS, run=None, updates=6, **config):
    config = toy_config(optimizer=SgdConfig(learning_rate=0.005), **config)
    trainer = Trainer(task, model, config, run=run, group=group)
    if run:
        trainer.resume()
    trainer.updater.enter_epoch(0)
    taken = 0
    for epoch in range(9):
        for update in task.updates(epoch, group):
            if taken < updates:
                trainer.update(update)
                trainer.state.updates_in_epoch += 1
                taken += 1
    return trainer


def cap_of(task):
    """Less than half of the largest micro-batch."""
    sizes = [batch.size for update in task.updates(0, SINGLE_PROCESS) for batch in update]
    return max(sizes) * 2 // 5


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("kind", ["toy", "translation", "images"])
def test_an_update_in_parts_is_that_of_the_whole(kind, where, tmp_path):
    for name in ("whole", "short"):
        (tmp_path / name).mkdir()
    whole = trained(*learner(kind, tmp_path / "whole"))
    task, model = learner(kind, tmp_path / "short")
    short = Short(task, cap_of(task), where)
    parted = trained(short, model)
    assert 1 <= short.failures <= 4  # what was learnt is used from then on
    torch.testing.assert_close(weights(parted), weights(whole), **EXACT)
    for name, buffer in whole.raw_model.named_buffers():
        torch.testing.assert_close(model.get_buffer(name), buffer)
    found, expected = (t.metrics.read(SINGLE_PROCESS) for t in (parted, whole))
    for name in ("loss", "gradient_norm", "padding_share"):
        assert found[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-9)


def _train_short(group, folder, kind, where, ranks):
    (folder / f"text{group.rank}").mkdir()
    task, model = learner(kind, folder / f"text{group.rank}")
    cap = cap_of(task) if group.rank in ranks else 10**9
    short = Short(task, cap, where)
    trainer = trained(short, model, group)
    assert (short.failures > 0) == (group.rank in ranks)
    assert short.largest <= max(cap_of(task) * 2, 1) or group.rank not in ranks
    limits = group.gather(str(trainer.sizes.limit(10)))
    assert limits[0] == limits[1]
    torch.save(weights(trainer), folder / f"{group.rank}.pt")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("kind", "where", "ranks"),
    [
        *(("toy", where, ranks) for where in ("before", "forward", "backward") for ranks in RANKS),
        ("translation", "backward", (1,)),
        ("images", "forward", (0,)),
    ],
    ids=str,
)
def test_two_processes_take_parts_alike(kind, where, ranks, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = weights(trained(*learner(kind, tmp_path / "whole")))
    assert meet(_train_short, tmp_path, 2, kind, where, ranks) == [0, 0]
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, whole, **EXACT)


SHARDED = {"processes": ProcessesConfig(sharding="full")}


def _train_sharded(group, folder, name, cap):
    task, model = learner("toy", folder)
    config = {"group": group, "run": toy_run(folder / "run"), "updates": 3, **SHARDED}
    if cap is None or group.rank == 0:
        trainer = trained(task, model, **config)
        found = [p.full_tensor().flatten() for p in model.parameters()]
        if group.rank == 0:
            torch.save(torch.cat(found), folder / f"{name}.pt")
        assert (trainer.sizes.limit(0) is None) == (name == "whole")
        return
    try:
        trained(Short(task, cap), model, **config)
    except TrainingError as error:
        (folder / "said").write_text(str(error))
        os._exit(3)


@pytest.mark.processes
def test_where_weights_are_shared_out_the_run_ends_and_goes_on_in_parts(tmp_path):
    for name in ("whole", "short"):
        (tmp_path / name).mkdir()
        toy_run(tmp_path / name / "run")
    assert meet(_train_sharded, tmp_path / "whole", 2, "whole", None) == [0, 0]
    folder = tmp_path / "short"
    codes = meet(_train_sharded, folder, 2, "short", 20)
    assert codes[1] == 3
    assert codes[0] != 0  # it waited in vain
    said = (folder / "said").read_text()
    assert re.search(r"^step 1: memory ran out for 30 .*: go on with --resume, by which", said)
    (folder / "rendezvous").unlink()
    assert meet(_train_sharded, folder, 2, "again", None) == [0, 0]
    found, expected = (
        torch.load(file, weights_only=True)
        for file in (folder / "again.pt", tmp_path / "whole" / "whole.pt")
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def _fail_whole(group, folder):
    task = toy_task(accumulate=2)
    try:
        trained(Short(task, 3 if group.rank else 10**9), ToyModel(), group)
    except TrainingError as error:
        (folder / f"said{group.rank}").write_text(str(error))


@pytest.mark.processes
def test_what_can_not_be_divided_ends_every_process_in_one_line(tmp_path):
    assert meet(_fail_whole, tmp_path, 2) == [0, 0]
    said = [(tmp_path / f"said{rank}").read_text() for rank in (0, 1)]
    assert said[0] == said[1]
    assert re.match(r"memory can't hold a part, of size 5, that can't be divided: ", said[0])
    assert "\n" not in said[0]


CONFIG = {
    **HARD,
    "checkpoints": CheckpointsConfig(every_steps=4, keep_last=9),
    "validate_every_steps": 100,
    "log_every_steps": 1,
    "max_steps": 14,
}
TASK = {"batch_size": 9, "accumulate": 2}


class Scarce(ToyTask):
    """Memory is short during one step, as where another program takes it."""

    def loss_sums(self, model, batch):
        if self.clock and self.clock.state.step == 5 and batch.size > 30:
            raise MemoryError
        return super().loss_sums(model, batch)

    clock = None


class Dies(Scarce):
    """Its process ends without a word at a step."""

    def updates(self, epoch, group, start=0):
        for update in super().updates(epoch, group, start):
            if self.clock and self.clock.state.step == 6:
                raise KeyboardInterrupt
            yield update


def scarce(cls, run):
    trainer = toy_trainer(cls(**vars(toy_task(**TASK))), run=run, **CONFIG)
    object.__setattr__(trainer.task, "clock", trainer)
    return trainer


def test_what_was_learnt_of_memory_outlives_the_run(tmp_path, caplog):
    """The checkpoint it goes on from is older, and there is memory enough the second time."""
    straight = scarce(Scarce, toy_run(tmp_path / "straight"))
    straight.fit()
    assert "step 6: memory ran out for 45 " in caplog.text
    assert "what is larger than 33 is divided" in caplog.text
    run = toy_run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        scarce(Dies, run).fit()
    assert run.steps() == [4]
    resumed = toy_trainer(toy_task(**TASK), run=run, **CONFIG)
    assert resumed.resume()
    resumed.fit()
    assert_same(resumed, straight)
    assert history(run) == history(toy_run(tmp_path / "straight"))
    limits = {line["step"]: line.get("train/size_limit") for line in history(run)}
    assert [limits[5], limits[6], limits[13]] == [None, 33.0, 33.0]
    plain = toy_trainer(toy_task(**TASK), **CONFIG)
    plain.fit()
    assert not torch.equal(weights(plain), weights(straight))  # dropout drew other masks


def test_parts_are_within_the_limit_and_a_function_of_the_step(tmp_path):
    sizes, batch = MicroBatchSizeLimits(tmp_path / "sizes.yaml"), toy_task().train
    assert [part.size for part in sizes.parts(batch, 9)] == [340]
    assert sizes.learn(3, 340) == 255
    assert sizes.learn(7, 170) == 127
    sizes.write()
    again = MicroBatchSizeLimits(tmp_path / "sizes.yaml")
    again.read(SINGLE_PROCESS)

    def of_two(group):  # the second sees the file late, as on another host
        found = MicroBatchSizeLimits(tmp_path / ("late" if group.rank else "sizes.yaml"))
        found.read(group)
        return found

    for found in (sizes, again, *together(2, of_two)):
        assert [found.limit(step) for step in (2, 3, 6, 7)] == [None, 255, 255, 127]
        parts = found.parts(batch, 7)
        assert [part.size for part in parts] == [85] * 4
        assert torch.equal(torch.cat([part.token for part in parts]), batch.token)
    assert [part.size for part in sizes.parts(batch, 5)] == [170, 170]


@pytest.mark.parametrize(
    "text",
    ["", "limits: 3", "limits: [{after_step: -1, largest: 2}]", "limits: [{largest: 0}]", "\0"],
)
def test_sizes_that_were_altered_are_told_in_one_line(tmp_path, text):
    file = tmp_path / "sizes.yaml"
    file.write_text(text)
    with pytest.raises(CheckpointError, match=r"sizes\.yaml.*; delete it") as caught:
        MicroBatchSizeLimits(file).read(SINGLE_PROCESS)
    assert "\n" not in str(caught.value)


def test_what_can_not_be_kept_ends_the_run(tmp_path):
    run = toy_run(tmp_path / "run")
    run.sizes.mkdir()
    trainer = toy_trainer(Short(toy_task(), 20), run=run)
    with pytest.raises(TrainingError, match=r"sizes\.yaml can't be written: "):
        trainer.fit()


# A real allocator that says no.


def wide_update(room, file):
    """One update on 2,048 rows; ``room``: bytes beyond those used before, None: all there are."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    token = torch.randint(VOCAB, (2048, 16))
    task = ToyTask(ToyBatch(token, token[:, 0]), ToyBatch(token[:8], token[:8, 0]))
    trainer = toy_trainer(task, Wide().double())
    trainer.update([task.rows(torch.arange(8))])  # libraries have what they need
    if room:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    trainer.update([task.train])
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2) if not room else None
    torch.save((weights(trainer), trainer.sizes.limit(1) or 0), file)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures itself in /proc")
def test_with_memory_capped_an_update_is_made_in_parts(tmp_path):
    for name, room in (("whole", None), ("capped", 150_000_000)):
        process = processes.Process(target=wide_update, args=(room, tmp_path / name))
        process.start()
        process.join(100)
        assert process.exitcode == 0
    whole, capped = (torch.load(tmp_path / n, weights_only=True) for n in ("whole", "capped"))
    assert whole[1] == 0
    assert 0 < capped[1] <= 2048 * 16 * 3 // 4
    torch.testing.assert_close(capped[0], whole[0], **EXACT)
