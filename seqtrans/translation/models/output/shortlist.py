"""Shortlists: compute the output layer for likely target tokens only (arXiv:1412.2007, 3.2)."""

from dataclasses import dataclass, replace

import torch
from torch import nn

from seqtrans.errors import RecipeError
from seqtrans.nn.output_layer import OutputLayer, OutputRows
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.data.lexicon import Lexicon
from seqtrans.translation.models.encoder_decoder import EncoderDecoder
from seqtrans.translation.models.ensemble import Ensemble
from seqtrans.translation.models.output.copying import CopyingOutput
from seqtrans.translation.protocols import DecoderState, SourceBatch, Specials


@dataclass(frozen=True)
class ShortlistState:
    """A decoder's state, and the part of the output layer that these sentences need."""

    state: DecoderState
    output: OutputLayer
    shortlist: Bool[Tensor, "B V"]
    rows: OutputRows  # for the tokens of any sentence
    allowed: Bool[Tensor, "B U"]  # ``shortlist`` at these tokens

    @classmethod
    def of(
        cls, state: DecoderState, output: OutputLayer, shortlist: Bool[Tensor, "B V"]
    ) -> "ShortlistState":
        """Take the part of the output layer that the sentences of a batch need."""
        rows = output.rows(shortlist.any(0).nonzero()[:, 0])
        return cls(state, output, shortlist, rows, shortlist[:, rows.tokens])

    def reorder(self, parent: Int[Tensor, "B J"]) -> "ShortlistState":
        """See ``DecoderState.reorder``."""
        return replace(self, state=self.state.reorder(parent))

    def keep(self, sentence: Int[Tensor, " R"]) -> "ShortlistState":
        """See ``DecoderState.keep``; fewer sentences need fewer tokens."""
        return ShortlistState.of(self.state.keep(sentence), self.output, self.shortlist[sentence])


class Shortlisted(nn.Module):
    """A model that predicts tokens of a shortlist only; a ``Seq2SeqModel``.

    The shortlist of a sentence has the likeliest translations of each of its tokens, the most
    frequent target tokens and EOS. It does not depend on other sentences: the output layer is
    computed for the tokens of all shortlists of a batch, and each sentence's softmax has its own.

    Args:
        model: The model.
        lexicon: Likely translations.
        size: Translations of each source token, and frequent tokens.
        target: Special ids of the target vocabulary.
    """

    def __init__(
        self, model: EncoderDecoder, lexicon: Lexicon, size: int, target: Specials
    ) -> None:
        super().__init__()
        self.model = model
        # EOS, which is always allowed, stands where a token has fewer translations.
        likely = torch.from_numpy(lexicon.likely[:, :size]).long()
        always = torch.from_numpy(lexicon.frequent[:size]).long()
        self.likely: Tensor
        self.always: Tensor
        self.register_buffer("likely", likely.masked_fill(likely < 0, target.eos), persistent=False)
        always = torch.cat((always, always.new_tensor([target.eos])))
        self.register_buffer("always", always, persistent=False)

    def begin(self, source: SourceBatch) -> ShortlistState:
        """See ``Seq2SeqModel.begin``."""
        vocab = self.model.output.weight.size(0)
        shortlist = source.mask.new_zeros((len(source), vocab))
        shortlist[:, self.always] = True
        # Padding has no translations: it would make a shortlist depend on the batch.
        likely = self.likely[source.tokens].masked_fill(~source.mask[:, :, None], self.always[-1])
        shortlist.scatter_(1, likely.flatten(1), value=True)
        return ShortlistState.of(self.model.begin(source), self.model.output, shortlist)

    def decode_step(
        self, token: Int[Tensor, "B K"], state: ShortlistState
    ) -> tuple[Float[Tensor, "B K V"], ShortlistState]:
        """See ``Seq2SeqModel.decode_step``."""
        features, later = self.model.decoder.step(token, state.state)
        log_probs = state.output.log_probabilities_of(state.rows, features, state.allowed)
        return log_probs, replace(state, state=later)


def with_shortlist(
    model: EncoderDecoder | Ensemble, lexicon: Lexicon, size: int, target: Specials
) -> Shortlisted | Ensemble:
    """Return a model, or an ensemble of models, with shortlists; for arguments ``Shortlisted``.

    Raises:
        RecipeError: A model copies from the source, so a shortlist can't hold all it may say.
    """
    models = [model] if isinstance(model, EncoderDecoder) else model.members
    if any(isinstance(member.output, CopyingOutput) for member in models):
        raise RecipeError(
            f"shortlist ({size}) needs a model that copies nothing, unlike this one (model.copying "
            "true): set shortlist to 0"
        )
    if isinstance(model, EncoderDecoder):
        return Shortlisted(model, lexicon, size, target)
    members = [Shortlisted(member, lexicon, size, target) for member in model.members]
    return Ensemble(members, model.combination)
