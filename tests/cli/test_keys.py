"""``seqtrans keys``: nothing that a recipe may say is left out, and what it says is so."""

import json
import re

import pytest
import yaml

from seqtrans import config
from seqtrans.cli import main
from seqtrans.config.key_reference import sections
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.translation.recipe.schema import TranslationRecipe

TASKS = {"translation": TranslationRecipe, "classification": ClassificationRecipe}


def keys(capsys, *arguments):
    code = main(["keys", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("task", TASKS)
def test_every_mapping_of_the_schema_is_listed_with_all_its_keys(capsys, task):
    code, text, _ = keys(capsys, "--task", task, "--format", "schema")
    assert code == 0
    schema = json.loads(text)
    properties = {name: set(d["properties"]) for name, d in schema["$defs"].items()}
    properties[""] = set(schema["properties"])
    listed = [({k.name for k in s.keys}, s.choice) for s in sections(TASKS[task])]
    for name, expected in properties.items():
        assert any(expected - found <= {"kind"} for found, _ in listed), name


@pytest.mark.parametrize("task", TASKS)
def test_defaults_are_those_of_a_recipe(task):
    for section in sections(TASKS[task]):
        for key in section.keys:
            assert key.values, (section.path, key.name)
            if key.default:
                yaml.safe_load(key.default)
    known = {(s.path, s.choice): {k.name: k.default for k in s.keys} for s in sections(TASKS[task])}
    assert known["training", ""]["max_steps"] == "null"
    assert known["training", ""]["optimizer"] == "{kind: adam}"
    assert known["training.schedule", "kind: inverse_square_root"]["warmup_steps"] == "4000"
    assert known["training.optimizer", "kind: sgd"]["learning_rate"] == "0.1"
    assert known["", ""]["training"] == ""


def test_what_is_listed_is_what_a_recipe_takes():
    """The default of every key, written out, is the default."""
    text = "data: {train: [{tsv: a}], validation: [{tsv: b}]}\nmodel: {}\ntraining: {max_steps: 1}"
    least = config.loads(TranslationRecipe, text, "r.yaml")
    top = next(sections(TranslationRecipe)).keys
    said = "".join(f"\n{k.name}: {k.default}" for k in top if k.default)
    assert config.loads(TranslationRecipe, text + said, "r.yaml") == least


@pytest.mark.parametrize("task", TASKS)
def test_a_key_of_a_section_leaves_the_others_as_they_are(task):
    """What a section is by default is what it is where it is written without a key."""
    for section in sections(TASKS[task]):
        for key in section.keys:
            default = yaml.safe_load(key.default) if key.default else None
            if isinstance(default, dict):
                assert default.keys() <= {"kind"}, f"{section.path}.{key.name}"


def test_a_part_is_listed_alone(capsys):
    _, text, _ = keys(capsys, "training.optimizer")
    titles = re.findall(r"^\S.*", text, re.MULTILINE)
    kinds = ("adam", "adamw", "sgd", "adafactor", "muon", "schedule_free_adamw")
    assert titles == ["training", *(f"training.optimizer, kind: {kind}" for kind in kinds)]
    assert "  momentum: 0.0\n" in text
    assert "max_steps" not in text
    _, text, _ = keys(capsys, "data.train.tsv")
    assert text.startswith(
        "data.train[], kind: tsv\n  tsv: (must be given)\n      A path. File of tab-separated"
    )


def test_what_stands_in_two_places_is_told_once(capsys):
    _, text, _ = keys(capsys)
    assert "\ndata.validation[], kind: tsv\n  as data.train[], kind: tsv\n" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["training.optimzer"], "no key 'training.optimzer'; did you mean 'training.optimizer'?"),
        (["training", "--format", "schema"], "leave out the key"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, said):
    code, out, err = keys(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
