"""Build a lexicon from a corpus, and measure how much of a corpus it covers."""

import numpy as np

from seqtrans.translation.data.encoded_corpus import EncodedCorpus
from seqtrans.translation.data.ibm_model_1 import TranslationTable
from seqtrans.translation.data.lexicon import Lexicon
from seqtrans.translation.tokenization.segmenters import Segmenters


def build_lexicon(
    table: TranslationTable, corpus: EncodedCorpus, segmenters: Segmenters, size: int
) -> Lexicon:
    """Keep the ``size`` likeliest entries of every source token, and as many frequent tokens."""
    order = np.lexsort((-table.probability, table.source))
    source, target = table.source[order], table.target[order]
    first = np.searchsorted(source, source)  # place of a source token's first entry
    rank = np.arange(len(source)) - first
    kept = rank < size
    likely = np.full((len(segmenters.source.pieces), size), -1, np.int32)
    likely[source[kept], rank[kept]] = target[kept]
    counts = corpus.target.counts(len(segmenters.target.pieces))
    frequent = np.argsort(-counts, kind="stable")[: min(size, np.count_nonzero(counts))]
    return Lexicon(likely, frequent.astype(np.int32))


def coverage(corpus: EncodedCorpus, lexicon: Lexicon, size: int) -> float:
    """Return the proportion of a corpus's target tokens that are in shortlists of ``size``."""
    frequent, found, total = lexicon.frequent[:size], 0, 0
    for i in range(len(corpus)):
        allowed = np.append(lexicon.likely[corpus.source[i], :size], frequent)
        found += int(np.isin(corpus.target[i], allowed).sum())
        total += len(corpus.target[i])
    return found / max(1, total)
