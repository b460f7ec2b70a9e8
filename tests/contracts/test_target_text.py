"""Every character of a reference can be produced: target text comes back as it was."""

# ruff: noqa: RUF001 - characters of many scripts
import io
import itertools

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.translation.tokenization.config import BpeDropout, SubwordConfig, UnigramSampling
from seqtrans.translation.tokenization.segmenters import train_segmenters
from seqtrans.translation.tokenization.words_and_characters import CharactersConfig, WordsConfig

SPACES = ["\u00a0", "\u202f", "\u3000", "\u2009", "\t", "\u1680"]
UNSEEN = ["\u200c", "\u200d", "\u00ad", "\u200e", "\u2067", "\u2060", "\ufe0f", "\u200b", "\ufeff"]
SHOWN = list("</>0x²½ﬁ㎏℃…“”«»，。！？：（）ＡｂA1﷼ｶがé\u0301\u0327\u093c각\u1100\u1161\u11a8①ß")
SPELLED = ["<s>", "</s>", "<unk>", "<pad>", "<0x0A>", "⁇", "▁", "▅", "\ufffd", "👩‍🚀", "🏳️‍🌈"]
ALPHABET = [*SPACES, *UNSEEN, *SHOWN, *SPELLED]
SYLLABLES = ["ha", "lo", "mi", "pas", "nud", "kex"]  # with the letters of what is spelled
WORDS = ["".join(parts) for parts in itertools.product(SYLLABLES, repeat=3)]
MARKED = [one + word for word in WORDS[::5] for one in ALPHABET]
LINES = [" ".join(MARKED[i : i + 3]) for i in range(0, len(MARKED), 3)]
SAMPLING = {"unigram": UnigramSampling(), "bpe": BpeDropout(probability=0.3)}


def seen(line):
    """A line but for its spaces, of which sentencepiece keeps one between words."""
    return "" if line.isspace() else " ".join(filter(None, line.split(" ")))


@pytest.fixture(
    scope="module", params=itertools.product(["unigram", "bpe"], [True, False], [True, False])
)
def made(request, tmp_path_factory):
    model_type, joint, byte_fallback = request.param
    config = SubwordConfig(
        model_type=model_type,
        joint=joint,
        vocab_size=430 if byte_fallback else 175,
        byte_fallback=byte_fallback,
        character_coverage=1.0,
        sampling=SAMPLING[model_type],
    )
    pairs = lambda: ((line, line) for line in LINES)  # noqa: E731
    return train_segmenters(config, pairs, tmp_path_factory.mktemp("made"))


@given(parts=st.lists(st.sampled_from([*ALPHABET, " ", "hal"]), max_size=12))
def test_target_text_comes_back_as_it_was(made, parts):
    line, target = "".join(parts), made.target
    assert target.decode(target.encode([line])[0]) == seen(line)
    assert target.decode(target.sample([line], len(line))[0]) == seen(line)


@given(line=st.text(max_size=30).filter(lambda line: not {"\n", "\r"} & set(line)))
def test_with_bytes_any_text_comes_back(made, line):
    if made.target.specials.unk in made.target.encode(["字"])[0]:
        return
    line = line.translate({0xFDD0: "x", 0xFDD1: "x", 0xFDD2: "x"})  # no text, says Unicode
    assert made.target.decode(made.target.encode([line])[0]) == seen(line)


def test_the_source_is_normalized_as_sentencepiece_does(made):
    normalizer = sentencepiece.SentencePieceNormalizer(
        rule_name="nmt_nfkc", add_dummy_prefix=False, escape_whitespaces=False
    )
    normalized = [normalizer.normalize(line) for line in LINES]
    assert normalized != LINES
    assert made.source.encode(LINES) == made.source.encode(normalized)
    if made.is_joint:
        lines = [line.replace("▅", "") for line in LINES]
        normalized = [normalizer.normalize(line) for line in lines]
        assert made.source.encode(lines) == made.target.encode(normalized)
        assert made.source.sample(lines, 4) == made.target.sample(normalized, 4)


def test_each_file_tells_sentencepiece_all(made):
    for segmenter in made:
        alone = sentencepiece.SentencePieceProcessor(model_proto=segmenter.to_bytes())
        assert segmenter.encode(LINES) == alone.encode(LINES)


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nfkc_cf"])
def test_one_rule_for_both_is_sentencepieces_own_model(tmp_path, rule):
    config = SubwordConfig(normalization=rule, vocab_size=430, character_coverage=1.0)
    made = train_segmenters(config, lambda: ((line, line) for line in LINES), tmp_path)
    assert made.source is made.target
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for line in LINES for _ in range(2)),
        model_writer=model,
        vocab_size=430,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name=rule,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        num_threads=4,
        minloglevel=2,
    )
    alone = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    assert made.target.encode(LINES) == alone.encode(LINES)


def test_the_target_may_have_a_rule_of_its_own(tmp_path):
    config = SubwordConfig(normalization="identity", target_normalization="nfkc_cf", vocab_size=430)
    made = train_segmenters(config, lambda: ((line, line) for line in LINES), tmp_path)
    shown = [made.decode(made.encode(["ﬁn  HA²"])[0]) for made in made]
    assert shown == ["ﬁn HA²", "fin ha2"]


@pytest.fixture(scope="module")
def looked_up(tmp_path_factory):
    def train(config):
        pairs = lambda: ((line, line) for line in [*LINES, *ALPHABET, "hal", "a ▁ b"])  # noqa: E731
        return train_segmenters(config, pairs, tmp_path_factory.mktemp("made")).target

    return {"words": train(WordsConfig()), "characters": train(CharactersConfig())}


@given(parts=st.lists(st.sampled_from([*ALPHABET, " ", "hal"]), max_size=12))
def test_characters_come_back_as_they_were(looked_up, parts):
    line, target = "".join(parts), looked_up["characters"]
    assert target.decode(target.encode([line])[0]) == seen(line)


@given(
    parts=st.lists(st.sampled_from([*ALPHABET, "hal"]), max_size=6),
    joint=st.sampled_from([" ", *SPACES]),
)
def test_words_come_back_with_the_white_space_between(looked_up, parts, joint):
    line, target = joint.join(part for part in parts if not part.isspace()), looked_up["words"]
    assert target.decode(target.encode([line])[0]) == line


@pytest.mark.parametrize("config", [WordsConfig(), CharactersConfig()])
def test_white_space_that_a_vocabulary_does_not_know_counts_as_a_space(tmp_path, config):
    """So it is in runs from before white space had tokens: these go on as they were."""
    target = train_segmenters(config, lambda: iter([("10 km ▁", "10 km ▁")]), tmp_path).target
    assert target.encode(["10\u00a0\t km"]) == target.encode(["10 km"])
    assert target.encode(["\u3000 10\u2028km\x1d"]) == target.encode(["10 km"])


def test_a_line_stays_a_line(looked_up):
    for target in looked_up.values():
        for end in "\n\r\x0b\x0c\x1c\x85\u2028\u2029":
            assert target.encode([f"hal{end}hal"]) == target.encode(["hal hal"])
