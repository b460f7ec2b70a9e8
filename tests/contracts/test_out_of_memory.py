"""Validation, decoding and scoring find the same where memory holds less at once."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from seqtrans.errors import SeqtransError
from seqtrans.runtime.out_of_memory import Halving, halves_of
from seqtrans.training.auto_batch_size import largest_training
from seqtrans.training.config import TrainingConfig
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.translation.inference.forced_scoring import Scorer
from seqtrans.translation.inference.translator import Translator
from seqtrans.translation.recipe.auto_batch_size import TOKENS, largest_search
from seqtrans.translation.search.build import build_search
from seqtrans.translation.search.config import BeamConfig, DecodingConfig
from tests.support.tiny_tasks import (
    classification,
    model_of,
    sentences,
    small_model,
    translation_task,
)


@contextmanager
def short_of_memory(model, rows, sizes):
    """Within, the model fails on more rows than that; ``sizes`` notes what it was shown."""

    def check(batch):
        sizes.append(len(getattr(batch, "source", batch)))
        if sizes[-1] > rows:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    names = [name for name in ("begin", "logits", "forward") if hasattr(model, name)]
    real = {name: getattr(model, name) for name in names}
    for name in names:

        def call(first, *others, name=name):
            check(first)
            return real[name](first, *others)

        setattr(model, name, call)
    try:
        yield
    finally:
        for name in names:
            delattr(model, name)


@pytest.fixture(scope="module")
def translation(tmp_path_factory):
    return translation_task(tmp_path_factory.mktemp("task"), sampled=False, judged=40)


def scores(hypotheses, references):
    return {"equal": float(sum(map(str.__eq__, hypotheses, references))), "x": len(hypotheses)}


def validating(translation):
    task = replace(translation, validation=replace(translation.validation, scorer=scores))
    model = small_model(task).double().eval()
    return model, lambda: sorted(task.validate(model, SINGLE_PROCESS).items())


def classifying(_):
    task = classification()
    model = model_of(task)
    return model, lambda: sorted(task.validate(model, SINGLE_PROCESS).items())


def translating(translation):
    model = small_model(translation)
    translator = Translator(
        model, translation.segmenters, BeamConfig(beam_size=3, max_length=20), "cpu"
    )
    lines = [source for source, _ in sentences()][:60]
    return model, lambda: [(t.text, t.score) for t in translator.stream(lines)]


def scoring(translation):
    model = small_model(translation)
    scorer = Scorer(model, translation.segmenters, DecodingConfig(), "cpu")
    pairs = list(sentences())[:60]
    return model, lambda: [(" ".join(p.tokens), p.log_prob) for p in scorer.stream(pairs)]


USES = [validating, classifying, translating, scoring]


@pytest.mark.parametrize("use", USES)
def test_what_memory_holds_at_once_changes_nothing(use, translation):
    model, compute = use(translation)
    with torch.inference_mode():
        expected = compute()
        sizes = []
        with short_of_memory(model, 5, sizes):
            found = compute()
    assert max(sizes) > 5
    assert sum(size > 5 for size in sizes) <= 10  # what was learnt is used
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert [value for _, value in found] == pytest.approx([v for _, v in expected], rel=1e-5)


@pytest.mark.parametrize("use", USES)
def test_what_does_not_fit_alone_is_told_in_one_line(use, translation):
    model, compute = use(translation)
    with (
        short_of_memory(model, 0, []),
        torch.inference_mode(),
        pytest.raises(SeqtransError, match=r"^out of memory for one of the \w+( \w+)?: ") as caught,
    ):
        compute()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 33])
@pytest.mark.parametrize("most", [1, 3, 5, 40])
def test_parts_come_in_order_and_every_one_once(count, most):
    tried = []

    def compute(rows):
        tried.append(len(rows))
        if len(rows) > most:
            raise MemoryError
        return list(rows)

    halving = Halving("rows", "nothing")
    for start in (0, 100, 200):
        tried.clear()
        rows = range(start, start + count)
        parts = halving(rows, compute, halves_of)
        assert [row for part in parts for row in part] == list(rows)
    assert max(tried) <= most  # by the third batch nothing fails any more


def test_nothing_is_halved_where_all_must_compute_equally_often():
    def compute(rows):
        if len(rows) > 3:
            raise MemoryError
        return list(rows)

    halving = Halving("rows", "take fewer", never_split=True)
    assert halving(range(3), compute, halves_of) == [[0, 1, 2]]
    message = "out of memory for a batch of rows, .* where weights are sharded: take fewer"
    with pytest.raises(SeqtransError, match=message):
        halving(range(4), compute, halves_of)


@pytest.mark.parametrize("most", [30, 60, 200])
def test_auto_takes_what_memory_holds(translation, most):
    """Sources of 9 tokens and EOS, so many of them."""
    model, specials = small_model(translation).eval(), translation.segmenters.source.specials
    search = build_search(BeamConfig(beam_size=2, max_length=2), translation.segmenters.target)
    with short_of_memory(model, most, []), torch.inference_mode():
        found = largest_search(search, model, specials, (9,))
    assert 256 <= found <= 10 * most
    assert found >= 10 * most * 0.69 or found == 256


def test_auto_learns_from_what_memory_holds(translation):
    model = small_model(translation)

    def sized(tokens):
        return replace(translation, batch_tokens=tokens)

    def measured():
        return largest_training(
            sized, model, TrainingConfig(max_steps=1), sizes=TOKENS, epoch=10**6
        )

    assert measured() == 4096
    sizes = []
    with short_of_memory(model, 100, sizes):
        assert 256 <= measured() < 4096
    assert max(sizes) > 100


def test_other_errors_pass():
    def compute(_):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="do not match"):
        Halving("rows", "nothing")([1, 2], compute, halves_of)
