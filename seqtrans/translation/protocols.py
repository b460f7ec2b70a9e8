"""The contracts of translation: models, searches and segmentations know each other by these."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self, TypeVar, runtime_checkable

from seqtrans.tensor_types import Bool, Float, Int, Tensor


@runtime_checkable
class DecoderState(Protocol):
    """All a model remembers between two decoding steps. Immutable; B is dim 0, K is dim 1."""

    def reorder(self, parent: Int[Tensor, "B J"]) -> Self:
        """J hypotheses, of which hypothesis j continues ``parent[b, j]`` of the same sentence."""
        ...

    def keep(self, sentence: Int[Tensor, " R"]) -> Self:
        """Drop every sentence but these."""
        ...


StateT = TypeVar("StateT", bound=DecoderState)


@runtime_checkable
class Seq2SeqModel(Protocol[StateT]):
    """What a searcher may ask of a translation model."""

    def begin(self, source: Int[Tensor, "B S"], source_mask: Bool[Tensor, "B S"]) -> StateT:
        """Encode the source; the state of one hypothesis per sentence before its first token."""
        ...

    def decode_step(
        self, token: Int[Tensor, "B K"], state: StateT
    ) -> tuple[Float[Tensor, "B K V"], StateT]:
        """Log-probabilities (fp32 or fp64) after ``token``, and the state that saw it."""
        ...


class Hypothesis(NamedTuple):
    """One translation: target ids without BOS and EOS, and its normalized score."""

    tokens: list[int]
    score: float


class Searcher(Protocol):
    """Turns a model into translations."""

    def __call__(
        self,
        model: Seq2SeqModel[StateT],
        source: Int[Tensor, "B S"],
        source_mask: Bool[Tensor, "B S"],
    ) -> list[list[Hypothesis]]:
        """Per sentence, hypotheses, best first."""
        ...


class Specials(NamedTuple):
    """Ids of the tokens that are not text."""

    pad: int
    bos: int
    eos: int
    unk: int


@runtime_checkable
class Segmenter(Protocol):
    """Text of one language to token ids and back. Ids never include BOS or EOS."""

    @property
    def specials(self) -> Specials:
        """Ids of padding, BOS, EOS and unknown."""
        ...

    @property
    def pieces(self) -> Sequence[str]:
        """The token of every id; its length is the vocabulary size."""
        ...

    def encode(self, lines: Sequence[str]) -> list[list[int]]:
        """Ids of every line; deterministic."""
        ...

    def sample(self, lines: Sequence[str], seed: int) -> list[list[int]]:
        """Ids of every line, segmented at random where sampling is configured (else encode).

        A pure function of ``lines`` and ``seed``. For training only.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; special ids are left out."""
        ...
