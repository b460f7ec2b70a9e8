"""Long text is cut at the sentence ends of its script, and joined as its script joins."""

# ruff: noqa: RUF001 - punctuation of many scripts
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.translation.inference.sentence_splitter import join_parts, split_long


def lengths(texts):
    return [len(text) for text in texts]


@pytest.mark.parametrize(
    "sentences",
    [
        [
            "今天天气很好，我们去公园吧！",
            "他问：“你好吗？”",
            "请输入密码（至少八位）。",
            "iPhone很贵。",
        ],
        ["你好吗?", "我很好!", "谢谢。"],
        ["東京は「広い。」", "と彼は言った。", "ＡＩは３．５倍だ．", "以上。"],
        ["मैं घर जा रहा हूँ। ", "तुम कहाँ हो? ", "ठीक है।"],
        ["كيف حالك؟ ", "أنا بخير. ", "شكرا!"],
        ["یہ کتاب ہے۔ ", "وہ گھر ہے۔"],
        ["He said “No.” ", "(Really?) ", "Yes… ", "It costs 3.5 dollars, approx. five. ", "Fine!"],
        ["안녕하세요? ", "네."],
    ],
)
def test_text_is_cut_at_the_sentence_ends_of_its_script(sentences):
    text, stripped = "".join(sentences), [sentence.strip() for sentence in sentences]
    assert split_long(text, max(map(len, stripped)), lengths) == stripped
    assert join_parts(stripped) == text


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["One.", "Two."], "One. Two."),
        (["", "One.", "", "Two.", ""], "One. Two."),
        (["“好。”", "“是。”"], "“好。”“是。”"),
        (["用 Apple。", "Apple 很贵。"], "用 Apple。Apple 很贵。"),
        (["很長的句子沒有", "結尾"], "很長的句子沒有結尾"),
        (["He calls it 漢字.", "Then he goes."], "He calls it 漢字. Then he goes."),
        (["이것은", "책입니다."], "이것은 책입니다."),
        (["ราคา", "ห้าบาท"], "ราคา ห้าบาท"),
        (["Hi 😀", "there"], "Hi 😀 there"),
        ([], ""),
    ],
)
def test_parts_are_joined_as_their_script_joins_them(parts, joined):
    assert join_parts(parts) == joined


def test_clauses_that_stay_together_keep_what_is_between_them():
    text = "一二三，四五六，七八九，十"
    assert split_long(text, 9, lengths) == ["一二三，四五六，", "七八九，十"]
    text = "un deux\u00a0; trois, quatre cinq"
    assert split_long(text, 16, lengths) == ["un deux\u00a0; trois,", "quatre cinq"]


@pytest.mark.parametrize("text", ["elm fir oak " * 40, "elm, fir, oak, " * 40, "a b, c " * 60])
def test_parts_are_long_where_spaces_take_tokens_as_among_characters(text):
    parts = split_long(text, 40, lengths)
    assert max(map(len, parts)) <= 40
    assert min(map(len, parts[:-1])) >= 15
    assert join_parts(parts) == text.strip()


def test_a_mark_is_not_torn_off_its_letter():
    for part in split_long("e\u0301" * 40 + "की" * 40 + "👩\u200d🚀" * 20, 7, lengths):
        assert not unicodedata.category(part[0]).startswith("M")
        assert part[0] != "\u200d"
        assert part[-1] != "\u200d"


@given(
    text=st.text(st.sampled_from("ab字。, .!？\u0301\u200d।  \u00a0"), min_size=1, max_size=80),
    limit=st.integers(1, 20),
)
def test_parts_fit_and_nothing_is_lost(text, limit):
    parts = split_long(text, limit, lengths)
    assert all(len(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())
