"""A lexicon built from a table against plain sorting."""

import numpy as np

from seqtrans.translation.data.build_lexicon import build_lexicon, coverage
from seqtrans.translation.data.encoded_corpus import corpus_of
from seqtrans.translation.data.ibm_model_1 import TranslationTable
from seqtrans.translation.data.lexicon import load_lexicon, save_lexicon
from seqtrans.translation.protocols import Specials
from seqtrans.translation.tokenization.segmenters import Segmenters
from tests.support.searches import Language

SEGMENTERS = Segmenters(*(Language(Specials(0, 1, 2, 3), ["x"] * size) for size in (6, 9)))
TABLE = TranslationTable(
    np.array([4, 4, 4, 5]), np.array([5, 6, 7, 8]), np.array([0.2, 0.5, 0.3, 1.0])
)
CORPUS = corpus_of([([4], [6, 6, 5]), ([5, 4], [6, 8, 8, 7])])


def test_the_likeliest_and_the_most_frequent_are_kept_in_their_order(tmp_path):
    built = build_lexicon(TABLE, CORPUS, SEGMENTERS, 2)
    save_lexicon(built, tmp_path)
    lexicon = load_lexicon(tmp_path, SEGMENTERS)
    nothing = [-1, -1]
    assert lexicon.likely.tolist() == [nothing] * 4 + [[6, 7], [8, -1]]
    assert lexicon.frequent.tolist() == [6, 8]
    assert lexicon.size == 2


def test_coverage_is_the_share_of_target_tokens_in_shortlists():
    lexicon = build_lexicon(TABLE, CORPUS, SEGMENTERS, 2)
    assert coverage(CORPUS, lexicon, 2) == 6 / 7  # 5 is no likely translation of 4
    assert coverage(CORPUS, lexicon, 1) == 5 / 7  # nor is 7, now
