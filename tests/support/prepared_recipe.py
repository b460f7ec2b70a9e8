"""A small translation recipe with its corpus and its run, as fixtures."""

import pytest

from seqtrans import config
from seqtrans.training.checkpoints.run_directory import create
from seqtrans.translation.recipe.schema import TranslationRecipe

RECIPE = """
data:
  train: [{{source: {0}/train.en, target: {0}/train.de}}]
  validation: [{{source: {0}/dev.en, target: {0}/dev.de}}]
  segmentation: {{kind: sentencepiece, vocab_size: 285, joint: true}}
  filter: {{max_tokens: 20}}
  batch_tokens: 77
model:
  encoder: {{kind: recurrent, hidden_dim: 8}}
  decoder: {{kind: recurrent, hidden_dim: 8}}
  tie_embeddings: all
training: {{max_steps: 3, accumulate: 2, seed: 5, precision: fp32}}
label_smoothing: 0.25
validation: {{metrics: [ter], decoding: {{beam_size: 3, batch_tokens: 55}}}}
decoding: {{beam_size: 7}}
"""


@pytest.fixture
def folder(tmp_path):
    texts = {
        "train.en": ["the cat sat", "a dog ran", "the dog sat", "dog " * 40],
        "train.de": ["die Katze saß", "ein Hund lief", "der Hund saß", "Hund"],
        "dev.en": ["the cat ran", "cat " * 40],
        "dev.de": ["die Katze  lief", "Katze"],
    }
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return tmp_path


@pytest.fixture
def recipe(folder):
    return config.loads(TranslationRecipe, RECIPE.format(folder), "r.yaml")


@pytest.fixture
def run(folder, recipe):
    return create(folder / "runs" / "x", config.dump(recipe))
