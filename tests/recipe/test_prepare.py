# ruff: noqa: E501, F811 - lines tell a setting in full; fixtures
"""From a recipe to corpora, a task and a model: every setting arrives where it belongs."""

import logging
from dataclasses import replace

import pytest
import torch

from seqtrans import config
from seqtrans.errors import DataError, TrainingError
from seqtrans.recipe.load import prepare
from seqtrans.training.checkpoints.run_directory import create
from seqtrans.training.preflight import check
from seqtrans.translation.evaluation.metrics import score_systems
from seqtrans.translation.recipe.build_task import build_task
from seqtrans.translation.recipe.load_data import check_vocabulary, load_corpora
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.tokenization.segmenters import load_segmenters
from tests.support.prepared_recipe import RECIPE, folder, recipe, run  # noqa: F401


def test_every_setting_arrives_in_the_task(recipe, run):
    task = prepare(recipe, run).task
    assert (task.batch_tokens, task.accumulate, task.seed) == (77, 2, 5)
    assert task.objective.label_smoothing == 0.25
    assert task.validation.decoding.beam_size == 3
    assert task.validation.decoding.batch_tokens == 55
    scores = task.validation.scorer(["a b"], ["a c"])
    assert list(scores) == ["ter"]
    silent = replace(recipe, validation=replace(recipe.validation, metrics=()))
    corpora = load_corpora(recipe.data, task.segmenters, run.path / "cache")
    assert build_task(silent, task.segmenters, corpora).validation.scorer is None


def test_validation_measures_as_evaluate_does(folder, recipe, run, caplog):
    caplog.set_level(logging.INFO, logger="seqtrans")
    spaceless = ["猫喜欢狗和马。", "男人看见女人。"]
    (folder / "dev.de").write_text("".join(f"{line}\n" for line in spaceless), encoding="utf-8")
    chinese = replace(recipe, validation=replace(recipe.validation, metrics=("bleu",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqtrans.translation.recipe.load_data.REFUSE_UNKNOWN", 1)
        task = prepare(chinese, run).task
        assert task.validation.scorer(["猫喜欢狗和鸟。", "男人看见女人。"], spaceless)["bleu"] < 1
        warning = "set validation.tokenize to zh"
        assert warning in caplog.text
        caplog.clear()
        settings = replace(chinese.validation, tokenize="zh", lowercase=True)
        task = prepare(replace(chinese, validation=settings), run).task
    scores = task.validation.scorer(["猫喜欢狗和鸟。", "男人看见女人。"], spaceless)
    (expected,) = score_systems(
        {"": ["猫喜欢狗和鸟。", "男人看见女人。"]}, {"": spaceless}, settings.measure
    )
    assert scores == {"bleu": expected.value}
    assert expected.value > 50
    assert warning not in caplog.text
    assert f"validation measures BLEU|{expected.signature}" in caplog.text


def test_a_missing_tokenizer_is_noticed_before_anything_is_made(recipe, run, monkeypatch):
    def missing(name):
        raise DataError(f"tokenize {name} needs")

    monkeypatch.setattr("seqtrans.translation.evaluation.metrics.load_tokenizer", missing)
    japanese = replace(recipe.validation, metrics=("bleu",), tokenize="ja-mecab")
    with pytest.raises(DataError, match="tokenize ja-mecab needs"):
        prepare(replace(recipe, validation=japanese), run)
    assert not any(run.vocabulary.iterdir())


def test_training_pairs_are_filtered_and_validation_pairs_never(recipe, run, caplog):
    caplog.set_level(logging.INFO, logger="seqtrans")
    task = prepare(recipe, run).task
    assert len(task.train) == 3
    assert len(task.validation.corpus) == 2
    assert task.validation.references == ["die Katze  lief", "Katze"]
    assert "training: 4 pairs, 3 kept, 1 dropped: 1 source too long; " in caplog.text
    assert "validation: 2 pairs, 2 kept, 0 dropped; " in caplog.text


@pytest.mark.parametrize("samples", [False, True])
def test_text_is_kept_where_subwords_are_sampled(recipe, run, samples):
    sampling = "{kind: unigram}" if samples else "null"
    chosen = config.loads(
        TranslationRecipe, config.dump(recipe), "r.yaml", [f"data.segmentation.sampling={sampling}"]
    )
    task = prepare(chosen, run).task
    assert (task.train.source_text is not None) == samples
    assert task.validation.corpus.source_text is None


def test_the_cache_stands_where_the_recipe_says_or_beside_the_run(recipe, run):
    prepare(recipe, run)
    assert (run.path.parent / ".seqtrans-cache").is_dir()
    elsewhere = run.path.parent / "elsewhere"
    prepare(replace(recipe, data=replace(recipe.data, cache=elsewhere)), run)
    assert any(elsewhere.iterdir())


def test_weights_are_a_function_of_the_seed(recipe, run):
    def drawn(seed):
        torch.seed()  # what was drawn before is of no concern
        chosen = replace(recipe, training=replace(recipe.training, seed=seed))
        return prepare(chosen, run).model.source_embedding.weight.detach()

    assert drawn(1).equal(drawn(1))
    assert not drawn(1).equal(drawn(2))


def test_the_vocabulary_is_made_once(recipe, run):
    prepare(recipe, run)
    before = {file: file.stat().st_mtime_ns for file in run.vocabulary.iterdir()}
    changed = replace(recipe.data.segmentation, vocab_size=280)
    prepare(replace(recipe, data=replace(recipe.data, segmentation=changed)), run)
    assert {file: file.stat().st_mtime_ns for file in run.vocabulary.iterdir()} == before
    assert len(load_segmenters(run.vocabulary).source.pieces) == 285


def test_a_vocabulary_of_another_text_is_noticed(recipe, run, folder, caplog):
    words = ["data.segmentation={kind: words, joint: false}", "model.tie_embeddings=none"]
    chosen = config.loads(TranslationRecipe, config.dump(recipe), "r.yaml", words)
    (folder / "dev.en").write_text("the xyz\ncat\n")
    prepared = prepare(chosen, run)
    assert "of the source tokens of the validation corpus are unknown" in caplog.text
    (folder / "dev.en").write_text("xyz xyz xyz\ncat\n")
    segmenters = prepared.task.segmenters
    corpora = load_corpora(chosen.data, segmenters, folder / "cache")
    with pytest.raises(DataError) as error:
        check_vocabulary(corpora, segmenters)
    assert str(error.value) == (
        "75.0% of the source tokens of the validation corpus are unknown: "
        "the vocabulary does not fit this text"
    )


def test_checks_try_everything_and_change_nothing(recipe, run, caplog):
    caplog.set_level(logging.INFO, logger="seqtrans")
    prepared = prepare(recipe, run)
    before = {name: p.detach().clone() for name, p in prepared.model.named_parameters()}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    check(prepared, recipe.training, run)
    assert "largest batch: " in caplog.text
    assert torch.random.get_rng_state().equal(state)
    assert prepared.model.training
    assert all(p.equal(before[name]) for name, p in prepared.model.named_parameters())
    assert all(p.grad is None for p in prepared.model.parameters())


@pytest.mark.parametrize(("metrics", "decodes"), [(("bleu",), True), ((), False)])
def test_checks_decode_only_what_validation_decodes(recipe, run, monkeypatch, metrics, decodes):
    decoded = []
    recipe = replace(recipe, validation=replace(recipe.validation, metrics=metrics))
    prepared = prepare(recipe, run)
    monkeypatch.setattr(
        type(prepared.task), "decode", lambda _, model, numbers: decoded.append((model.training, len(numbers)))
    )  # fmt: skip
    check(prepared, recipe.training, run)
    assert decoded == ([(False, 2)] if decodes else [])


def test_a_disk_without_room_is_told(recipe, run):
    prepared = prepare(recipe, run)
    checkpoints = replace(recipe.training.checkpoints, keep_last=10**9)
    greedy = replace(recipe, training=replace(recipe.training, checkpoints=checkpoints))
    with pytest.raises(TrainingError, match="are free"):
        check(prepared, greedy.training, run)


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ("{kind: words}", "vocabulary: 10 source tokens, 11 target tokens"),
        ("{kind: words, joint: true}", "vocabulary: 17 tokens of both languages"),
        (
            "{kind: words, vocab_size: 10, target_vocab_size: 9}",
            "vocabulary: 10 source tokens, 9 target tokens",
        ),
    ],
)
def test_the_size_of_every_vocabulary_is_said(folder, tmp_path, caplog, segmentation, said):
    document = config.parse(RECIPE.format(folder), "r.yaml")
    recipe = config.validate(
        TranslationRecipe,
        config.override(
            document,
            [f"data.segmentation={segmentation}", "model.tie_embeddings=none"],
        ),
    )
    with caplog.at_level(logging.INFO, "seqtrans"):
        prepare(recipe, create(tmp_path / "words", config.dump(recipe)))
    assert said in caplog.messages
