"""Words of tokens against the words of the text that they make."""

from hypothesis import given
from hypothesis import strategies as st

from seqtrans.translation.inference.words import count_words, words_of

PIECE = st.text("ab▁", min_size=1, max_size=4).filter(lambda text: "▁" not in text.strip("▁"))


@given(st.lists(PIECE, max_size=8))
def test_a_token_belongs_to_the_word_of_its_letters(texts):
    words = words_of(texts)
    text = "".join(texts)
    assert count_words(texts) == len(text.replace("▁", " ").split())
    place = 0
    for token, number in zip(texts, words, strict=True):
        letters = [i for i in range(place, place + len(token)) if text[i] != "▁"]
        place += len(token)
        if letters:
            before = text[: letters[0] + 1].replace("▁", " ").split()
            assert number == len(before) - 1
        else:  # spaces: of the word after them, or the last
            assert number == max(0, min(len(text[:place].replace("▁", " ").split()), words[-1]))
