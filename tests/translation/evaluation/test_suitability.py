# ruff: noqa: RUF001 - full-width punctuation is meant
"""Warnings come where a metric can't tell words apart, and nowhere else."""

import sys

import pytest
import sentencepiece

from seqtrans.errors import DataError
from seqtrans.translation.evaluation.metrics import (
    Measure,
    load_tokenizer,
    score_systems,
    signatures,
)
from seqtrans.translation.evaluation.suitability import IN_RECIPE, looks_tokenized, unsuited
from seqtrans.translation.recipe.load_data import check_metrics

UNSPACED = {
    "Chinese": (["猫喜欢狗，马也是！", "男人看见女人。"], "zh"),
    "with English": (["请打开 Microsoft Word 并点击 File", "iPhone 很好用"], "zh"),
    "with ASCII marks": (["打开5个灯,然后关闭窗户.", "你好,世界!"], "zh"),
    "of a menu": (["保存", "取消", "设置", "打开文件"], "zh"),
    "Japanese": (["猫が好きです。", "コンピューターを使います。"], "ja-mecab or char"),
    "Thai": (["ฉันชอบแมว", "เปิดไฟในห้องนอน หน่อยครับ"], "char or flores200"),
    "Lao": (["ຂ້ອຍມັກແມວ", "ກະລຸນາເປີດໄຟ"], "char or flores200"),
    "Khmer": (["ខ្ញុំចូលចិត្តឆ្មា។", "សូមបើកភ្លើងនៅក្នុងបន្ទប់គេង"], "char or flores200"),
    "joined": (["thecatsatonthematandlookedatthedog", "adogranhomeandateporridge"], "char"),
}
SPACED = {
    "English": ["the cat sat on the mat .", "Hello, 你好 world"],
    "German words": ["Benutzereinstellungen", "Speichern", "Datenschutzgrundverordnung", "Ja"],
    "Chinese in words": ["猫 喜欢 狗 ， 马 也 是 ！", "男人 看见 女人 。"],
    "Thai in words": ["ฉัน ชอบ แมว", "เปิด ไฟ ใน ห้อง นอน หน่อย ครับ"],
    "Korean": ["고양이를 좋아합니다.", "저장", "오늘 날씨가 좋네요."],
    "Hindi": ["मुझे बिल्लियाँ पसंद हैं।"],
    "paths": ["https://example.com/a/b/c?x=1&y=2", "/usr/local/share/doc/python3/README"],
    "blank": ["", ""],
}


def said(lines, **options):
    return unsuited(Measure(**options), lines, "r.txt", IN_RECIPE)


@pytest.mark.parametrize("text", UNSPACED)
@pytest.mark.parametrize("tokenize", ["13a", "intl", "none"])
def test_text_without_spaces_is_noticed(text, tokenize):
    lines, better = UNSPACED[text]
    (warning,) = said(lines, metrics=("bleu", "chrf"), tokenize=tokenize)
    assert warning == (
        f"r.txt has few spaces, and the tokenizer {tokenize} of BLEU needs them: "
        f"set validation.tokenize to {better}"
    )
    assert not said(lines, metrics=("chrf",), tokenize=tokenize)


@pytest.mark.parametrize("text", UNSPACED)
def test_what_a_warning_advises_ends_it(text):
    lines, better = UNSPACED[text]
    fitting = "char" if "char" in better else better
    assert not said(lines, metrics=("bleu", "chrf"), tokenize=fitting)


def test_a_tokenizer_for_other_scripts_is_noticed():
    assert said(UNSPACED["Thai"][0], tokenize="zh")
    assert not said(UNSPACED["Chinese"][0], metrics=("bleu",), tokenize="zh")


@pytest.mark.parametrize("text", SPACED)
@pytest.mark.parametrize("tokenize", ["13a", "intl"])
def test_there_is_no_false_alarm(text, tokenize):
    assert not said(SPACED[text], metrics=("bleu", "chrf", "chrf++", "ter"), tokenize=tokenize)


def test_metrics_of_words_are_named_whatever_the_tokenizer():
    (warning,) = said(UNSPACED["Chinese"][0], metrics=("bleu", "ter"), tokenize="zh")
    assert "TER splits words at spaces: set validation.metrics" in warning
    (warning,) = said(UNSPACED["Thai"][0], metrics=("chrf++", "ter"))
    assert "chrF++ and TER split words" in warning


@pytest.mark.parametrize(
    ("metrics", "tokenize", "said"),
    [(("chrf",), "zh", 1), (("chrf",), "13a", 0), ((), "zh", 1), (("bleu",), "zh", 0)],
)
def test_a_tokenizer_that_nothing_uses_is_named(caplog, metrics, tokenize, said):
    check_metrics(Measure(metrics=metrics, tokenize=tokenize), ["\u732b\u770b\u72d7"])
    found = [m for m in caplog.messages if "has no effect" in m]
    assert len(found) == said
    assert all(f"validation.tokenize {tokenize} has no effect" in m for m in found)


def test_ter_of_long_lines_is_announced():
    lines = ["a short one", "word " * 2600]
    assert not said(lines, metrics=("bleu", "chrf", "chrf++"))
    (warning,) = said(lines, metrics=("ter",))
    assert warning.startswith("r.txt has a line of 2,600 words: TER takes")


def test_tokenized_text_is_counted():
    assert looks_tokenized(["a cat ."] * 100) == 100
    assert not looks_tokenized(["a cat ."] * 99 + ["a cat."] * 900)


@pytest.fixture
def fresh(monkeypatch):
    """Tokenizers are loaded anew, before and after."""
    for name in ("ja_mecab", "ko_mecab"):
        monkeypatch.delitem(sys.modules, f"sacrebleu.tokenizers.tokenizer_{name}", raising=False)
    load_tokenizer.cache_clear()
    yield monkeypatch
    load_tokenizer.cache_clear()


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("ja-mecab", "MeCab", "ja"), ("ko-mecab", "mecab_ko", "ko")]
)
def test_a_tokenizer_that_is_not_installed_names_its_extra(fresh, name, module, extra):
    fresh.setitem(sys.modules, module, None)
    with pytest.raises(DataError) as error:
        signatures(Measure(tokenize=name))
    assert str(error.value) == (f"tokenize {name} can't be loaded: pip install 'seqtrans[{extra}]'")
    assert len(signatures(Measure(metrics=("chrf",), tokenize=name))) == 1, "only BLEU needs it"


@pytest.mark.parametrize("name", ["flores101", "flores200", "spm"])
def test_a_tokenizer_with_a_model_downloads_nothing_unasked(fresh, tmp_path, name):
    for module in ("sacrebleu.utils", "sacrebleu.tokenizers.tokenizer_spm"):
        fresh.setattr(f"{module}.SACREBLEU_DIR", str(tmp_path))
    measure = Measure(metrics=("bleu",), tokenize=name)
    with pytest.raises(DataError, match=rf"tokenize {name} .*: download https://\S* as {tmp_path}"):
        signatures(measure)
    file = {"flores200": "flores200sacrebleuspm"}.get(name, "sacrebleu_tokenizer_spm.model")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / file).write_bytes(b"no model")
    with pytest.raises(DataError, match="can't be loaded: download"):
        signatures(measure)
    text = tmp_path / "text"
    text.write_text("the cat sat on the mat\nthe dog ran home\n" * 9)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "m"), vocab_size=18, minloglevel=2
    )
    (tmp_path / "m.model").rename(tmp_path / "models" / file)
    (score,) = score_systems({"a": ["the cat ran"]}, {"r": ["the cat sat"]}, measure)
    assert 0 < score.value < 100
    assert f"|tok:{'flores200' if name == 'flores200' else 'flores101'}|" in score.signature
