"""What every task must satisfy: updates are pure, resumable and shared out; losses add up."""

import zlib
from dataclasses import replace

import pytest
import torch

from seqtrans.errors import TrainingError
from seqtrans.images.data.normalize import normalize
from seqtrans.images.task import ClassificationTask
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from tests.support.threads_as_processes import together
from tests.support.tiny_tasks import (
    SIZES,
    classification,
    model_of,
    sentences,
    small_model,
    translation_task,
)


class Rank:
    """One of several processes that never have to meet."""

    def __init__(self, rank, world):
        self.rank, self.world_size = rank, world

    def sum(self, _):
        raise AssertionError("planning updates must not wait for others")


TRANSLATIONS = {
    "plain": {"sampled": False},
    "sampled": {"sampled": True},
    "both directions": {"sampled": False, "both_directions_epochs": 2},
    "both directions sampled": {"sampled": True, "both_directions_epochs": 2},
}


@pytest.fixture(scope="module", params=[*TRANSLATIONS, "images", "augmented"])
def task(request, tmp_path_factory):
    if request.param in ("images", "augmented"):
        return classification(augmented=request.param == "augmented")
    return translation_task(tmp_path_factory.mktemp("task"), **TRANSLATIONS[request.param])


@pytest.fixture(scope="module", params=TRANSLATIONS)
def translation(request, tmp_path_factory):
    return translation_task(tmp_path_factory.mktemp("task"), **TRANSLATIONS[request.param])


def fingerprints(updates):
    """Every tensor of every batch, so that equal means equal in all."""
    return [[[t.tolist() for t in tensors(b).values()] for b in update] for update in updates]


def tensors(batch):
    """Every tensor of a batch, those of its source with a dot in their names."""
    source = vars(batch.source) if hasattr(batch, "source") else {}
    found = {f"source.{k}": v for k, v in source.items()} | vars(batch)
    return {k: v for k, v in found.items() if isinstance(v, torch.Tensor)}


def with_tensors(batch, changed):
    """The batch with other tensors, named as by ``tensors``."""
    own = {name: tensor for name, tensor in changed.items() if "." not in name}
    if source := {k.removeprefix("source."): v for k, v in changed.items() if "." in k}:
        own["source"] = replace(batch.source, **source)
    return replace(batch, **own)


def test_updates_are_a_pure_function_of_the_epoch(task):
    first = fingerprints(task.updates(1, SINGLE_PROCESS))
    list(task.updates(0, SINGLE_PROCESS))  # what was asked for in between must not matter
    assert fingerprints(replace(task).updates(1, SINGLE_PROCESS)) == first
    assert fingerprints(task.updates(2, SINGLE_PROCESS)) != first


@pytest.mark.parametrize("start", [2, 3])
def test_starting_late_is_skipping_micro_batches_whatever_updates_they_were_in(task, start):
    every = [batch for update in fingerprints(task.updates(1, SINGLE_PROCESS)) for batch in update]
    for accumulate in (1, 2):
        rest = fingerprints(replace(task, accumulate=accumulate).updates(1, SINGLE_PROCESS, start))
        assert [batch for update in rest for batch in update] == every[start:]
        assert {len(update) for update in rest[:-1]} == {accumulate}


def test_processes_share_the_micro_batches_of_every_update(task):
    batches = sum(len(update) for update in task.updates(0, SINGLE_PROCESS))
    task = replace(task, accumulate=next(n for n in range(2, batches) if batches % n))
    alone = fingerprints(task.updates(0, SINGLE_PROCESS))
    shared = [fingerprints(task.updates(0, Rank(rank, 2))) for rank in (0, 1)]
    assert len(shared[0]) == len(shared[1]) == len(alone)
    for whole, *parts in zip(alone, *shared, strict=True):
        assert [whole[rank::2] for rank in (0, 1)] == parts
    assert len(alone[-1]) < task.accumulate


def pairs_of(translation, epoch):
    """The pairs of an epoch as text, sorted."""
    batches = [b for update in translation.updates(epoch, SINGLE_PROCESS) for b in update]
    sides = [
        [
            segmenter.decode(row[mask].tolist())
            for batch in batches
            for row, mask in zip(*of(batch), strict=True)
        ]
        for segmenter, of in zip(
            translation.segmenters,
            (
                lambda b: (b.source.tokens, b.source.mask),
                lambda b: (b.target_output, b.target_mask),
            ),
            strict=True,
        )
    ]
    return sorted(zip(*sides, strict=True))


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_an_epoch_holds_every_pair_once_and_at_first_reversed_too(translation, epoch):
    reverses = epoch < translation.both_directions_epochs
    expected = [(s, t) for s, t in sentences()]
    expected += [(t, s) for s, t in sentences()] if reverses else []
    assert pairs_of(translation, epoch) == sorted(expected)


def test_updates_are_counted_over_epochs_of_either_kind(translation):
    made = [sum(1 for _ in translation.updates(epoch, SINGLE_PROCESS)) for epoch in range(5)]
    tolerance = 0.3 if translation.train.source_text else 0.0  # sampled subwords are more
    for epochs in range(1, 6):
        expected = sum(made[:epochs])
        assert translation.updates_in(epochs) == pytest.approx(expected, rel=tolerance)
    assert (made[0] > 1.8 * made[2]) == bool(translation.both_directions_epochs)


def test_the_largest_batch_may_be_one_that_is_reversed(tmp_path):
    both = translation_task(tmp_path, sampled=False, both_directions_epochs=1)
    batches = [b for update in both.updates(0, SINGLE_PROCESS) for b in update]
    assert both.largest_batch().size == max(batch.size for batch in batches)


def test_batches_keep_the_budget_and_pad_little(translation):
    batches = [batch for update in translation.updates(0, SINGLE_PROCESS) for batch in update]
    assert all(max(b.source.tokens.numel(), b.target_output.numel()) <= 200 for b in batches)
    padded, targets = sum(b.num_padded for b in batches), sum(b.num_targets for b in batches)
    assert padded / (padded + targets) < 0.15


def test_loss_sums_add_up(task):
    model = model_of(task).double()
    batch = next(task.updates(0, SINGLE_PROCESS))[0]
    exact = {n: t.double() if t.is_floating_point() else t for n, t in tensors(batch).items()}
    halves = [
        with_tensors(batch, {name: tensor[rows] for name, tensor in exact.items()})
        for rows in (slice(0, 3), slice(3, None))
    ]
    whole = task.loss_sums(model, with_tensors(batch, exact))
    parts = [task.loss_sums(model, half) for half in halves]
    torch.testing.assert_close(whole.loss, parts[0].loss + parts[1].loss)
    assert whole.shown
    for name, value in whole.shown.items():
        torch.testing.assert_close(value, parts[0].shown[name] + parts[1].shown[name])
        assert not value.requires_grad


def test_halves_have_all_that_a_batch_has(task):
    """As far down as it goes."""
    batches = (batch for update in task.updates(0, SINGLE_PROCESS) for batch in update)
    batch = max(batches, key=lambda batch: len(next(iter(tensors(batch).values()))))
    waiting, smallest, depth = [batch], [], 0
    while waiting:
        part = waiting.pop(0)
        halves = part.halves()
        if len(halves) == 1:
            smallest.append(part)
            continue
        assert len(halves) == 2
        depth += 1
        assert all(half.size <= part.size * 2 / 3 for half in halves)
        for name in ("size", "num_targets", "num_padded"):
            assert sum(getattr(half, name) for half in halves) == getattr(part, name)
        whole = tensors(part)
        for name, tensor in whole.items():
            assert torch.equal(torch.cat([tensors(half)[name] for half in halves]), tensor), name
        waiting += halves
    assert depth > 2
    least = 2 if isinstance(task, ClassificationTask) else 1
    assert all(len(next(iter(tensors(b).values()))) in (least, 2 * least - 1) for b in smallest)


class Summing(Rank):
    """Notes what its process adds to the sums, and adds the others' as told."""

    def __init__(self, rank, world, others=()):
        super().__init__(rank, world)
        self.others, self.noted = others, ()

    def sum(self, values):
        self.noted = tuple(values)
        return tuple(sum(column) for column in zip(values, *self.others, strict=True))

    def await_device(self, device):
        """There is none."""


@pytest.mark.parametrize("world", [2, 3])
def test_processes_that_share_images_find_what_one_finds(world):
    task = classification()
    model = model_of(task)
    with torch.inference_mode():
        alone = task.validate(model, SINGLE_PROCESS)
        parts = [Summing(rank, world) for rank in range(world)]
        for part in parts:
            task.validate(model, part)
        found = task.validate(model, Summing(0, world, [p.noted for p in parts[1:]]))
        logits = model(normalize(task.validation.images, task.train.normalisation))
    assert found == pytest.approx(alone)
    right = (logits.argmax(dim=1) == task.validation.labels).double().mean()
    assert alone["accuracy"] == float(right)
    loss = torch.nn.functional.cross_entropy(logits, task.validation.labels)
    assert alone["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_the_loss_of_mixed_images_is_that_of_mixed_targets():
    """Cross-entropy is linear in the target, so shares of two losses are one of shares."""
    task = classification(augmented=True)
    model = model_of(task)
    batch = next(task.updates(0, SINGLE_PROCESS))[0]
    one_hot = torch.eye(4)
    share = batch.weights[:, None]
    target = share * one_hot[batch.labels] + (1 - share) * one_hot[batch.partners]
    logits = model(batch.images)
    expected = torch.nn.functional.cross_entropy(
        logits, target, reduction="sum", label_smoothing=0.1
    )
    found = task.loss_sums(model, batch)
    torch.testing.assert_close(found.loss, expected)
    right = target.gather(1, logits.argmax(dim=1, keepdim=True)).sum()
    torch.testing.assert_close(found.shown["accuracy"], right)


def test_decoding_keeps_the_order(translation):
    model = small_model(translation).eval()
    order = [7, 3, 250, 0]
    with torch.inference_mode():
        together = translation.decode(model, order)
        assert together == [translation.decode(model, [i])[0] for i in order]


def test_processes_that_share_decoding_find_exactly_what_one_finds(translation):
    """They search the very batches that one process would."""

    def scores(hypotheses, references):
        assert len(hypotheses) == len(references)
        return {"text": float(zlib.crc32("\n".join(hypotheses).encode()))}

    task = replace(translation, validation=replace(translation.validation, scorer=scores))
    model = small_model(task).eval()

    def validate(group):
        with torch.inference_mode():
            return task.validate(model, group)

    alone = validate(SINGLE_PROCESS)
    assert alone["perplexity"] > 1.0
    assert together(3, validate) == [alone] * 3


def test_only_a_sampled_corpus_is_cut_anew_in_every_epoch(translation):
    target = translation.segmenters.target

    def cuts(epoch):
        rows = (
            row[mask].tolist()
            for update in translation.updates(epoch, SINGLE_PROCESS)
            for batch in update
            for row, mask in zip(batch.target_output, batch.target_mask, strict=True)
        )
        return sorted((target.decode(ids), ids) for ids in rows)

    assert (cuts(0) != cuts(1)) == (translation.train.source_text is not None)


def test_a_model_that_has_diverged_is_told_in_one_line(translation):
    model = EncoderDecoder(
        ModelConfig(
            encoder=TransformerEncoderConfig(**SIZES), decoder=TransformerDecoderConfig(**SIZES)
        ),
        *(len(segmenter.pieces) for segmenter in translation.segmenters),
    ).eval()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"NaN.: training has diverged; go on from an earlier"):
        translation.decode(model, [0])
