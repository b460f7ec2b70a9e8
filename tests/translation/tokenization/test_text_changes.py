import io
import logging

import pytest
import sentencepiece

from seqtrans import config
from seqtrans.translation.recipe.load_data import load_corpora, log_changes
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.tokenization.config import ExistingSubwordConfig, SubwordConfig
from seqtrans.translation.tokenization.segmenters import train_segmenters
from seqtrans.translation.tokenization.text_changes import find_changes
from seqtrans.translation.tokenization.words_and_characters import CharactersConfig, WordsConfig

TEXT = ["10² Ha", "10² … «Ha»", "Cafe\u0301\u00a0au  lait ", "ha", "ZZZZ"] * 20


def target_of(segmentation, folder, lines=TEXT):
    return train_segmenters(segmentation, lambda: ((line, line) for line in lines), folder).target


def test_what_changes_is_counted_with_its_lines(tmp_path):
    rule = SubwordConfig(normalization="nmt_nfkc", vocab_size=280)
    found = find_changes(target_of(rule, tmp_path), TEXT)
    assert (found.lines, found.changed_lines) == (100, 60)
    assert found.changed == {"²": 40, "…": 20, "e\u0301": 20, "\u00a0": 20}
    assert found.becomes == {"²": "2", "…": "...", "e\u0301": "é", "\u00a0": " "}
    assert found.examples_of_changed == "² -> 2, … -> ..., U+0065 U+0301 -> é"
    assert not found.unknown


def test_nothing_changes_by_default(tmp_path):
    found = find_changes(target_of(SubwordConfig(vocab_size=284), tmp_path), TEXT)
    assert not found.changed
    assert not found.unknown
    assert found.changed_lines == 0


@pytest.mark.parametrize(
    "config", [SubwordConfig(vocab_size=28, byte_fallback=False), CharactersConfig()]
)
def test_unknown_characters_are_counted(tmp_path, config):
    found = find_changes(target_of(config, tmp_path), [*TEXT, "字字 ж", "ha字"])
    assert found.unknown == {"字": 3, "ж": 1}
    assert found.unit == "characters"
    assert found.total == sum(len(line.replace(" ", "")) for line in TEXT) - 20 + 6  # é: one of two
    assert found.examples_of_unknown == "字, ж"


def test_unknown_words_are_counted(tmp_path):
    found = find_changes(target_of(WordsConfig(), tmp_path), ["10² hu  hu", "10²\tHa"])
    assert found.unit == "words"
    assert found.unknown == {"hu": 2}
    assert found.becomes == {"10²\tHa": "10² Ha"}


def test_an_existing_model_changes_what_it_was_made_to(tmp_path):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=model,
        vocab_size=30,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc_cf",
        minloglevel=2,
    )
    (tmp_path / "own.model").write_bytes(model.getvalue())
    existing = ExistingSubwordConfig(model=tmp_path / "own.model")
    found = find_changes(target_of(existing, tmp_path / "v"), ["Ha²"])
    assert found.becomes == {"H": "h", "²": "2"}


RECIPE = """
data:
  train: [{{source: {0}/a, target: {0}/a}}]
  validation: [{{source: {0}/a, target: {0}/a}}]
  segmentation:
    {{kind: sentencepiece, byte_fallback: false, character_coverage: 0.998, vocab_size: {1}}}
model: {{encoder: {{kind: recurrent}}, decoder: {{kind: recurrent}}}}
training: {{max_steps: 1}}
"""


@pytest.mark.parametrize(("rule", "says"), [("28", False), ("25, normalization: nmt_nfkc", True)])
def test_the_report_says_it_for_each_side(tmp_path, caplog, rule, says):
    caplog.set_level(logging.INFO, logger="seqtrans.translation.recipe.load_data")
    lines = [*TEXT, "ж"]
    (tmp_path / "a").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    recipe = config.loads(TranslationRecipe, RECIPE.format(tmp_path, rule), "r.yaml")
    both = train_segmenters(
        recipe.data.segmentation, lambda: ((line, line) for line in lines), tmp_path / "v"
    )
    corpora = load_corpora(recipe.data, both, tmp_path / "cache")
    caplog.clear()
    log_changes(recipe.data, corpora, both)
    said = "normalization changes 60 of 101 {} lines, 100 characters: ² -> 2, … -> ..., "
    assert said.format("source") in caplog.text
    assert (said.format("target") in caplog.text) == says
    assert ("can't contain these characters" in caplog.text) == says
    assert "1 different target characters, 1 of " in caplog.text
    assert "are unknown; translations can't contain them: ж" in caplog.text
