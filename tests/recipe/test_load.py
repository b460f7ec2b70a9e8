# ruff: noqa: E501 - messages are told in full
"""Recipes: what contradicts itself, what is missing, and how the parts are put together."""

import copy
import itertools
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from seqtrans import config
from seqtrans.errors import RecipeError
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.recipe.load import load_recipe
from seqtrans.translation.data.encoded_corpus import corpus_of
from seqtrans.translation.evaluation.metrics import perplexity
from seqtrans.translation.models.encoder_decoder import ModelConfig
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoderConfig
from seqtrans.translation.protocols import Specials
from seqtrans.translation.recipe.build import build_model
from seqtrans.translation.recipe.init_from import shared_rows
from seqtrans.translation.recipe.load_data import unknown_share
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.search.config import BeamConfig, ValidationBeamConfig
from seqtrans.translation.tokenization.segmenters import train_segmenters
from seqtrans.translation.tokenization.words_and_characters import WordsConfig

RECIPE = """
data:
  train: [{source: train.en, target: ../train.de}]
  validation: [{tsv: dev.tsv}]
  segmentation: {kind: words}
model:
  encoder: {kind: recurrent, hidden_dim: 8}
  decoder: {kind: recurrent, hidden_dim: 8}
training: {max_steps: 10}
"""


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "train.en").write_text("a b\n")
    (tmp_path / "train.de").write_text("c d\n")
    (folder / "dev.tsv").write_text("a\tc\n")
    path = folder / "r.yaml"
    path.write_text(RECIPE)
    return path


def complaint(path, *overrides):
    with pytest.raises(RecipeError) as error:
        load_recipe(path, overrides)
    return str(error.value)


def test_paths_are_relative_to_the_recipe_wherever_it_is_called_from(recipe, monkeypatch):
    absolute = load_recipe(recipe)
    monkeypatch.chdir(recipe.parent.parent)
    assert load_recipe(Path("recipes/r.yaml")) == absolute
    (files,) = absolute.data.train
    assert files.source == recipe.parent / "train.en"
    assert files.target == recipe.parent.parent / "train.de"


def test_the_stored_recipe_means_the_same_anywhere(recipe, tmp_path):
    loaded = load_recipe(recipe, ["data.cache=cache", "init_from.run=.", "training.seed=3"])
    copy = tmp_path / "elsewhere" / "recipe.yaml"
    copy.parent.mkdir()
    copy.write_text(config.dump(loaded))
    assert load_recipe(copy) == loaded
    assert loaded.data.cache == recipe.parent / "cache"
    assert loaded.training.seed == 3


@pytest.mark.parametrize("key", [f.name for f in fields(BeamConfig)])
def test_a_key_of_how_validation_searches_leaves_the_others(recipe, key):
    """It stays greedy unless told otherwise, whoever says what, and translate is not concerned."""
    usual = ValidationBeamConfig()
    # n_best and mbr need each other or a wider beam; validation has no shortlist.
    values = {"beam_size": 7, "n_best": 1, "no_loops": True, "kind": "beam", "mbr": None}
    values |= {"shortlist": 0, "stopping": "first"}
    value = values.get(key, 3)
    for name, base in (("validation.decoding", usual), ("decoding", BeamConfig())):
        loaded = load_recipe(recipe, [f"{name}.{key}={json.dumps(value)}"])
        found = {"validation.decoding": loaded.validation.decoding, "decoding": loaded.decoding}
        assert vars(found[name]) == vars(base) | {key: value}
        other = "decoding" if name != "decoding" else "validation.decoding"
        assert vars(found[other]) == vars(usual if base is not usual else BeamConfig())
    schema = config.json_schema(TranslationRecipe)["$defs"]["ValidationBeamConfig"]["properties"]
    assert schema[key]["default"] == getattr(usual, key)


def test_missing_files_are_named_all_at_once(recipe):
    folder = recipe.parent
    (folder / "dev.tsv").unlink()
    settings = [
        "data.train.0.source=no.en",
        "data.segmentation={kind: sentencepiece_model, model: x}",
    ]
    assert complaint(recipe, *settings, "init_from=run").splitlines() == [
        f"--set data.train.0.source: data.train.0.source: there is no such file: {folder}/no.en",
        f"{recipe}:4: data.validation.0.tsv: there is no such file: {folder}/dev.tsv",
        f"--set data.segmentation: data.segmentation.model: there is no such file: {folder}/x",
        f"--set init_from: init_from: there is no such file: {folder}/run",
    ]


def test_a_name_that_no_file_can_have_is_one_of_no_file(recipe):
    assert "there is no such file" in complaint(recipe, f"data.train.0.source={'x' * 5000}")
    unseen = complaint(recipe, 'data.train.0.source="no.en\\n"')
    assert unseen.endswith(rf"there is no such file: '{recipe.parent}/no.en\n'")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.stopping.metric=ter"], "--set training.stopping.metric: training.stopping.metric 'ter' is not measured: validation gives loss, perplexity, bleu, chrf; add it to validation.metrics"),
        (["validation.metrics=[]", "training.stopping.metric=bleu"], "--set training.stopping.metric: training.stopping.metric 'bleu' is not measured: validation gives loss, perplexity; add it to validation.metrics"),
        (["training.stopping.metric=blue"], "--set training.stopping.metric: training.stopping: metric 'blue' needs a goal, max or min (known: accuracy, bleu, chrf, chrf++, loss, nll, perplexity, ter); did you mean 'bleu'?"),
        (["training={}"], "--set training: training: training needs a limit: max_steps, max_epochs or max_minutes"),
        (["data.train=[]"], "--set data.train: data.train must be a list of 1 or more, not a list of 0"),
        (["data.train.0={source: train.en}"], "--set data.train.0: data.train[0] lacks the key 'target'"),
        (["init_from=3"], "--set init_from: init_from must be a path, a mapping or null, not 3"),
        (["model.encoder={kind: transformer, positions: learned, max_positions: 100}"], "--set: data.filter.max_tokens 256 and EOS need 257 positions: model.encoder.max_positions is 100"),
    ],
)  # fmt: skip
def test_contradictions_are_one_line(recipe, settings, message):
    place = f"{recipe}:2" if message.startswith("--set:") else ""
    assert complaint(recipe, *settings) == message.replace("--set", place, 1) if place else message


def test_init_from_may_be_a_path_or_a_mapping(recipe):
    short = load_recipe(recipe, ["init_from=."]).origin
    long = load_recipe(recipe, ["init_from={run: ., vocabulary: keep}"]).origin
    step = load_recipe(recipe, ["init_from={run: ., checkpoint: 300}"]).origin
    assert step.checkpoint == 300
    assert short == long
    assert load_recipe(recipe).origin is None


def words(folder, source, target, *, joint=False):
    pairs = lambda: iter(zip(source, target, strict=True))  # noqa: E731
    return train_segmenters(WordsConfig(joint=joint), pairs, folder)


@pytest.mark.parametrize(
    ("setting", "hint"),
    [({"tie_embeddings": "all"}, "tie less"), ({"copying": True}, "leave it out")],
)
def test_what_the_vocabulary_does_not_allow_is_refused(tmp_path, setting, hint):
    half = {"hidden_dim": 8}
    model = ModelConfig(
        encoder=RecurrentEncoderConfig(**half), decoder=RecurrentDecoderConfig(**half), **setting
    )
    separate = words(tmp_path / "a", ["a b"], ["c d e"])
    with pytest.raises(RecipeError, match=rf"data\.segmentation\.joint to true, or {hint}"):
        build_model(model, separate)
    joint = words(tmp_path / "b", ["a b"], ["c d e"], joint=True)
    assert build_model(model, joint).source_embedding.num_embeddings == 4 + 5


def test_rows_of_shared_pieces_are_paired_by_text(tmp_path):
    old = words(tmp_path / "a", ["the cat sat the cat the"], ["x"]).source
    new = words(tmp_path / "b", ["cat dog cat dog the dog"], ["x"]).source
    rows = shared_rows(old, new)
    pairs = list(zip(rows.stored.tolist(), rows.new.tolist(), strict=True))
    assert pairs[:4] == [(i, i) for i in range(4)], "special tokens correspond"
    assert {(old.pieces[i], new.pieces[j]) for i, j in pairs[4:]} == {
        ("cat", "cat"),
        ("the", "the"),
    }
    assert all(old.pieces[i] == new.pieces[j] for i, j in pairs)


class Renamed:
    """A segmenter whose special tokens stand elsewhere and are called otherwise."""

    specials = Specials(pad=3, bos=0, eos=1, unk=2)
    pieces = ("<begin>", "<end>", "<what>", "<nothing>", "<s>", "cat")


def test_special_tokens_correspond_by_role_and_never_by_name(tmp_path):
    old = words(tmp_path, ["cat"], ["x"]).source
    rows = shared_rows(old, Renamed())
    assert dict(zip(rows.new.tolist(), rows.stored.tolist(), strict=True)) == {
        0: old.specials.bos,
        1: old.specials.eos,
        2: old.specials.unk,
        3: old.specials.pad,
        5: old.pieces.index("cat"),
    }


def test_unknown_tokens_are_counted():
    corpus = corpus_of([([3, 5, 3, 6], [5]), ([7, 8, 9, 9], [5])])
    assert unknown_share(corpus.source, unk=3) == 0.25
    assert unknown_share(corpus.target, unk=3) == 0


def test_perplexity_never_overflows():
    assert perplexity(0.0) == 1.0
    assert perplexity(1e4) == float("inf")
    assert perplexity(float("nan")) != perplexity(float("nan"))


@pytest.mark.parametrize(("task", "shown"), [("[1]", "a list of 1"), ("null", "null")])
def test_a_task_of_another_type_lists_all_tasks(recipe, task, shown):
    message = f"--set task: task must be 'translation' or 'classification', not {shown}"
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        load_recipe(recipe, [f"task={task}"])


def test_the_schema_covers_the_whole_recipe():
    schema = config.json_schema(TranslationRecipe)
    assert {"TransformerEncoderConfig", "RecurrentDecoderConfig", "SubwordConfig", "AdamConfig"} <= set(schema["$defs"])  # fmt: skip
    assert schema["required"] == ["data", "model", "training"]


SAID = re.compile(r"r\.yaml: (the recipe|[a-z_0-9.[\]]+)(:| '| must be | has no | lacks ).*")
WRONG = {
    "-1": -1, "0.5": 0.5, "true": True, "'wrong'": "wrong", "null": None,
    "a list of 0": [], "a list of 1": [[]], "a mapping": {"kind": "wrong"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (TranslationRecipe, "translation/smart-home-en-de.yaml"),
        (ClassificationRecipe, "images/cifar10-resnet.yaml"),
    ],
)
def test_whatever_is_wrong_is_one_line_about_that_key(cls, name):
    good = config.validate(cls, config.read(Path(__file__).parents[2] / "recipes" / name))
    tree = config.parse(config.dump(good), "").value
    complaints = 0
    for path, (shown, value) in itertools.product(paths_in(tree), WRONG.items()):
        try:
            config.validate(cls, config.Document(replaced(tree, path, value), {(): "r.yaml"}))
        except RecipeError as error:
            complaints += 1
            said = str(error)
            key = "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in path)[1:]
            assert "\n" not in said or shown in ("a mapping", "a list of 1"), said
            for line in said.splitlines():
                assert SAID.fullmatch(line), line
                if f" {key} must be " in line:
                    assert line.partition("; ")[0].endswith(f", not {shown}"), line
    assert complaints > 300


def paths_in(tree, path=()):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from paths_in(value, (*path, key))


def replaced(tree, path, value):
    changed = inner = copy.deepcopy(tree)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed
