"""A model whose every probability is known, and depends on the whole prefix."""

from dataclasses import dataclass, replace

import torch

BOS, EOS, VOCAB = 1, 2, 5
MODULUS = 101


@dataclass(frozen=True)
class PrefixState:
    table: torch.Tensor  # (B, MODULUS, V)
    prefix: torch.Tensor  # (B, K) hash of everything this hypothesis has produced
    dropped: list[int]  # shared by all states of a search: sentences at every call of keep

    def reorder(self, parent):
        return replace(self, prefix=self.prefix.gather(1, parent))

    def keep(self, sentence):
        self.dropped.append(self.prefix.size(0) - len(sentence))
        return replace(self, table=self.table[sentence], prefix=self.prefix[sentence])


def next_prefix(prefix, token):
    return (prefix * 7 + token) % MODULUS


class PrefixModel:
    """Small enough to search exhaustively; every log-prob depends on the whole prefix.

    Sentence b is translated by table ``source[b, 0]``, wherever in the batch it is.
    """

    def __init__(self, seed, sentences=3, vocab=VOCAB, spread=2.0):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(sentences, MODULUS, vocab, generator=generator).double() * spread
        logits[:, :, [0, BOS]] = -1e9
        self.table = logits.log_softmax(-1)
        self.dropped = []
        self.steps = 0

    def begin(self, source):
        zeros = torch.zeros(len(source), 1, dtype=torch.long)
        return PrefixState(self.table[source.tokens[:, 0]], zeros, self.dropped)

    def decode_step(self, token, state):
        self.steps += 1
        prefix = next_prefix(state.prefix, token)
        rows = torch.arange(token.size(0))[:, None]
        return state.table[rows, prefix], replace(state, prefix=prefix)
