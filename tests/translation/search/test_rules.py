"""What outputs must keep to, in vocabularies of any kind."""

import pytest

from seqtrans.translation.search.config import BeamConfig
from seqtrans.translation.search.rules import OutputRules
from seqtrans.translation.tokenization.vocabulary import Vocabulary
from seqtrans.translation.tokenization.words_and_characters import TokenSegmenter


@pytest.mark.parametrize("others", [(), ("\u2581\u2582\u2583",)])
@pytest.mark.parametrize(("unit", "refused"), [("words", [4]), ("characters", [])])
def test_tokens_are_words_where_decoding_puts_spaces_between_them(others, unit, refused):
    vocabulary = Vocabulary(("a", "b", *others))
    target = TokenSegmenter(vocabulary, unit)
    guard = OutputRules.of(BeamConfig(no_repeat_words=1), target).word_guard
    assert sorted({*guard._forbidden_tokens([4])}) == refused
