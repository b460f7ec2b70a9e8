"""What every task must satisfy: updates are pure, resumable and shared out; losses add up."""

from dataclasses import replace

import pytest
import torch

from seqtrans.data.encoded import encode_corpus, open_corpus
from seqtrans.data.segmentation import train_segmenters
from seqtrans.data.subword import SubwordConfig, UnigramSampling
from seqtrans.decoding.beam import DecodingConfig, build_search
from seqtrans.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.models.transformer import TransformerDecoderConfig, TransformerEncoderConfig
from seqtrans.tasks.translation import TranslationTask, Validation
from seqtrans.training.distributed import ALONE

WORDS = "the lamp in kitchen is on off door of garage opens closes when it rains today"
SIZES = {"num_layers": 1, "model_dim": 16, "num_heads": 2, "ffn_dim": 32}


class Rank:
    """One of several processes that never have to meet."""

    def __init__(self, rank, world):
        self.rank, self.world = rank, world

    def sum(self, _):
        raise AssertionError("planning updates must not wait for others")


def sentences():
    generator = torch.Generator().manual_seed(0)
    for n in torch.randint(1, 12, (300,), generator=generator).tolist():
        chosen = torch.randint(len(WORDS.split()), (n,), generator=generator).tolist()
        line = " ".join(WORDS.split()[i] for i in chosen)
        yield line, line[::-1]


@pytest.fixture(scope="module", params=["plain", "sampled"])
def task(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    sampling = UnigramSampling(alpha=0.1) if request.param == "sampled" else None
    config = SubwordConfig(vocab_size=50, byte_fallback=False, sampling=sampling)
    segmenters = train_segmenters(config, sentences, folder / "vocabulary")
    corpora = {}
    for name, keep_text in (("train", sampling is not None), ("valid", False)):
        (folder / name).mkdir()
        encode_corpus(sentences(), segmenters, None, keep_text=keep_text, folder=folder / name)
        corpora[name] = open_corpus(folder / name)
    search = build_search(DecodingConfig(beam_size=1), segmenters.target.specials)
    references = [target for _, target in sentences()]
    return TranslationTask(
        train=corpora["train"],
        validation=Validation(corpora["valid"], references, search, None, 500),
        segmenters=segmenters,
        batch_tokens=200,
        accumulate=2,
        seed=3,
    )


def fingerprints(updates):
    """Every tensor of every batch, so that equal means equal in all."""
    names = ("source", "source_mask", "target_input", "target_output", "target_mask")
    return [[[getattr(b, n).tolist() for n in names] for b in update] for update in updates]


def test_updates_are_a_pure_function_of_the_epoch(task):
    first = fingerprints(task.updates(1, ALONE))
    list(task.updates(0, ALONE))  # what was asked for in between must not matter
    assert fingerprints(replace(task).updates(1, ALONE)) == first
    assert fingerprints(task.updates(2, ALONE)) != first


@pytest.mark.parametrize("start", [1, 3])
def test_starting_late_is_skipping(task, start):
    assert (
        fingerprints(task.updates(1, ALONE, start)) == fingerprints(task.updates(1, ALONE))[start:]
    )


def test_processes_share_the_micro_batches_of_every_update(task):
    alone = fingerprints(task.updates(0, ALONE))
    shared = [fingerprints(task.updates(0, Rank(rank, 2))) for rank in (0, 1)]
    whole = [update for update in alone if len(update) == task.accumulate]
    assert [[*a, *b] for a, b in zip(*shared, strict=True)] == whole


def test_an_epoch_holds_every_pair_once(task):
    decode = task.segmenters.target.decode
    seen = sorted(
        decode(row[mask].tolist())
        for update in task.updates(0, ALONE)
        for batch in update
        for row, mask in zip(batch.target_output, batch.target_mask, strict=True)
    )
    assert seen == sorted(target for _, target in sentences())


def test_batches_keep_the_budget_and_pad_little(task):
    batches = [batch for update in task.updates(0, ALONE) for batch in update]
    assert all(max(b.source.numel(), b.target_output.numel()) <= 200 for b in batches)
    padded, targets = sum(b.num_padded for b in batches), sum(b.num_targets for b in batches)
    assert padded / (padded + targets) < 0.15


def test_loss_sums_add_up(task):
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=TransformerEncoderConfig(**SIZES), decoder=TransformerDecoderConfig(**SIZES)
    )
    size = len(task.segmenters.source.pieces)
    model = EncoderDecoder(config, size, size).eval().double()
    batch = next(task.updates(0, ALONE))[0]
    halves = [
        replace(
            batch,
            **{
                name: getattr(batch, name)[rows]
                for name in (
                    "source",
                    "source_mask",
                    "target_input",
                    "target_output",
                    "target_mask",
                )
            },
        )
        for rows in (slice(0, 3), slice(3, None))
    ]
    whole, parts = task.loss_sums(model, batch), [task.loss_sums(model, h) for h in halves]
    torch.testing.assert_close(whole.loss, parts[0].loss + parts[1].loss)
    torch.testing.assert_close(whole.shown["nll"], parts[0].shown["nll"] + parts[1].shown["nll"])


def test_decoding_keeps_the_order(task):
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=TransformerEncoderConfig(**SIZES), decoder=TransformerDecoderConfig(**SIZES)
    )
    size = len(task.segmenters.source.pieces)
    model = EncoderDecoder(config, size, size).eval()
    order = [7, 3, 250, 0]
    with torch.inference_mode():
        together = task.decode(model, order)
        assert together == [task.decode(model, [i])[0] for i in order]


def test_only_a_sampled_corpus_is_cut_anew_in_every_epoch(task):
    target = task.segmenters.target

    def cuts(epoch):
        rows = (
            row[mask].tolist()
            for update in task.updates(epoch, ALONE)
            for batch in update
            for row, mask in zip(batch.target_output, batch.target_mask, strict=True)
        )
        return sorted((target.decode(ids), ids) for ids in rows)

    assert (cuts(0) != cuts(1)) == (task.train.source_text is not None)
