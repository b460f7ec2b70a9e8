"""The translation model: any encoder, any decoder, embeddings and an output layer."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, assert_never

from torch import nn

from seqtrans.config.types import PositiveFloat
from seqtrans.nn.initialize import scaled_normal_embedding, xavier_linear
from seqtrans.nn.output_layer import OutputLayer
from seqtrans.tensor_types import Bool, Float, Int, Tensor
from seqtrans.translation.data.batch import TranslationBatch
from seqtrans.translation.models.adaptation import (
    AdaptationConfig,
    insert_adaptations,
    is_adaptation,
)
from seqtrans.translation.models.convolutional import (
    ConvolutionalConfig,
    ConvolutionalDecoder,
    ConvolutionalDecoderConfig,
    ConvolutionalEncoder,
    ConvolutionalEncoderConfig,
)
from seqtrans.translation.models.interfaces import Decoder, Encoder, Features, Memory
from seqtrans.translation.models.objective import CROSS_ENTROPY, Losses, Objective
from seqtrans.translation.models.output.copying import CopyingOutput, CopyState
from seqtrans.translation.models.recurrent_decoder import RecurrentDecoder
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.recurrent_encoder import RecurrentEncoder, RecurrentEncoderConfig
from seqtrans.translation.models.ssru_decoder import SSRUDecoder
from seqtrans.translation.models.transformer import (
    TransformerDecoder,
    TransformerDecoderConfig,
    TransformerEncoder,
    TransformerEncoderConfig,
)
from seqtrans.translation.models.transformer_blocks import TransformerConfig
from seqtrans.translation.protocols import DecoderState, SourceBatch

EncoderConfig = TransformerEncoderConfig | RecurrentEncoderConfig | ConvolutionalEncoderConfig
DecoderConfig = TransformerDecoderConfig | RecurrentDecoderConfig | ConvolutionalDecoderConfig


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A translation model.

    Args:
        encoder: Reads the source.
        decoder: Writes the target.
        tie_embeddings: Which embedding tables share weights: ``none``; ``target_output``, the
            decoder's input and the output layer (arXiv:1608.05859); ``source_target``, the inputs
            of encoder and decoder; ``all`` three. The last two need a joint vocabulary.
        logit_soft_cap: Bound of the logits, which become ``cap * tanh(logits / cap)``
            (arXiv:2408.00118, 2), for example 30; null: none.
        copying: Let the model also copy tokens of the source, by an attention and a learned share
            of what is copied (arXiv:1704.04368); needs a joint vocabulary. The loss takes longer.
        adaptation: Weights added to the model of another run, ``init_from``; only they learn. null:
            none.

    Raises:
        ValueError: Tied embeddings, or the operands of dot attention, differ in size.
    """

    encoder: EncoderConfig = field(default_factory=TransformerEncoderConfig)
    decoder: DecoderConfig = field(default_factory=TransformerDecoderConfig)
    tie_embeddings: Literal["none", "target_output", "source_target", "all"] = "none"
    logit_soft_cap: PositiveFloat | None = None
    copying: bool = False
    adaptation: AdaptationConfig | None = None

    def __post_init__(self) -> None:
        """Check that encoder and decoder fit together."""
        source, target = _embedding_dim(self.encoder), _embedding_dim(self.decoder)
        output = _output_dim(self.decoder)
        if self.tie_embeddings in ("source_target", "all") and source != target:
            raise ValueError(
                f"tie_embeddings '{self.tie_embeddings}' needs embeddings of equal sizes, not "
                f"{source} in the encoder and {target} in the decoder"
            )
        if self.tie_embeddings in ("target_output", "all") and target != output:
            raise ValueError(
                f"tie_embeddings '{self.tie_embeddings}' needs a decoder whose output has the "
                f"size of its embedding, not {output} and {target}"
            )
        if isinstance(self.decoder, RecurrentDecoderConfig):
            self.decoder.check_memory(_memory_dim(self.encoder))

    @property
    def needs_joint_vocabulary(self) -> str:
        """Key and value of a setting that needs one vocabulary for both languages, or nothing."""
        if self.tie_embeddings in ("source_target", "all"):
            return f"tie_embeddings '{self.tie_embeddings}'"
        return "copying (true)" if self.copying else ""


class EncoderDecoder(nn.Module):
    """Embeds the source, encodes it, and predicts the target token by token.

    Args:
        config: Encoder, decoder and tied embeddings.
        source_vocab: Number of source tokens.
        target_vocab: Number of target tokens.

    Raises:
        ValueError: Tied embeddings belong to vocabularies of different sizes, or there is nothing
            to adapt.
    """

    def __init__(self, config: ModelConfig, source_vocab: int, target_vocab: int) -> None:
        super().__init__()
        encoder = _build_encoder(config.encoder)
        decoder = _build_decoder(config.decoder, encoder.memory_dim)
        self.encoder = encoder
        self.decoder = decoder
        self.source_embedding = nn.Embedding(source_vocab, encoder.embedding_dim)
        self.target_embedding = nn.Embedding(target_vocab, decoder.embedding_dim)
        cap = config.logit_soft_cap
        self.output: OutputLayer = (
            CopyingOutput(decoder.output_dim, encoder.memory_dim, target_vocab, cap)
            if config.copying
            else OutputLayer(decoder.output_dim, target_vocab, cap)
        )
        xavier_linear(self.output)
        if isinstance(self.output, CopyingOutput):
            self.output.open_gate()
        scaled_normal_embedding(self.source_embedding)
        scaled_normal_embedding(self.target_embedding)
        if config.needs_joint_vocabulary and source_vocab != target_vocab:
            raise ValueError(
                f"{config.needs_joint_vocabulary} needs a joint vocabulary, not "
                f"{source_vocab} source and {target_vocab} target tokens"
            )
        if config.tie_embeddings in ("source_target", "all"):
            self.source_embedding.weight = self.target_embedding.weight
        if config.tie_embeddings in ("target_output", "all"):
            self.output.weight = self.target_embedding.weight
        self.is_adapted = config.adaptation is not None
        if config.adaptation:
            insert_adaptations(self, config.adaptation)

    def never_learns(self, name: str) -> bool:
        """See ``LearnsInPart``."""
        return self.is_adapted and not is_adaptation(name)

    def forward(self, batch: TranslationBatch, objective: Objective = CROSS_ENTROPY) -> Losses:
        """Return the losses of ``objective``, in training mode those for training."""
        return objective(self, batch, is_training=self.training)

    def features(
        self,
        source: SourceBatch,
        target_input: Int[Tensor, "B T"],
        source_kept: Bool[Tensor, "B S"] | None = None,
        target_kept: Bool[Tensor, "B T"] | None = None,
    ) -> Features:
        """See ``TeacherForced.features``."""
        memory = self.encode(source, source_kept)
        features = self.decoder(_masked(self.target_embedding(target_input), target_kept), memory)
        if isinstance(self.output, CopyingOutput):
            return self.output.point(features, self.output.project(memory, source.tokens))
        return features

    def logits(
        self, source: SourceBatch, target_input: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T V"]:
        """Return the logits of the next target token at each position, under teacher forcing.

        Those of a model that copies are log-probabilities.
        """
        return self.output(self.features(source, target_input))

    def encode(self, source: SourceBatch, kept: Bool[Tensor, "B S"] | None = None) -> Memory:
        """Encode source sentences; the embeddings of tokens that are not ``kept`` are zero.

        Raises:
            ValueError: They have source factors.
        """
        if source.factors:
            raise ValueError(f"this model can't read source factors: {len(source.factors)} given")
        return self.encoder(_masked(self.source_embedding(source.tokens), kept), source.mask)

    def begin(self, source: SourceBatch) -> DecoderState:
        """See ``Seq2SeqModel.begin``."""
        memory = self.encode(source)
        state = self.decoder.begin(memory, self.target_embedding)
        if isinstance(self.output, CopyingOutput):
            return CopyState(state, self.output.project(memory, source.tokens))
        return state

    def decode_step(
        self, token: Int[Tensor, "B K"], state: DecoderState
    ) -> tuple[Float[Tensor, "B K V"], DecoderState]:
        """See ``Seq2SeqModel.decode_step``."""
        if isinstance(self.output, CopyingOutput):
            assert isinstance(state, CopyState)  # noqa: S101 - begin returns it
            features, decoder = self.decoder.step(token, state.decoder)
            pointed = self.output.point(features, state.source)
            return self.output.log_probabilities(pointed), replace(state, decoder=decoder)
        features, state = self.decoder.step(token, state)
        return self.output.log_probabilities(features), state


def _masked(
    embedded: Float[Tensor, "B P D"], kept: Bool[Tensor, "B P"] | None
) -> Float[Tensor, "B P D"]:
    return embedded if kept is None else embedded * kept.unsqueeze(-1)


def _build_encoder(config: EncoderConfig) -> Encoder:
    match config:
        case TransformerEncoderConfig():
            return TransformerEncoder(config)
        case RecurrentEncoderConfig():
            return RecurrentEncoder(config)
        case ConvolutionalEncoderConfig():
            return ConvolutionalEncoder(config)
        case _:
            assert_never(config)


def _build_decoder(config: DecoderConfig, memory_dim: int) -> Decoder[Any]:
    match config:
        case TransformerDecoderConfig():
            uses_attention = config.autoregression == "self_attention"
            return (TransformerDecoder if uses_attention else SSRUDecoder)(config, memory_dim)
        case RecurrentDecoderConfig():
            return RecurrentDecoder(config, memory_dim)
        case ConvolutionalDecoderConfig():
            return ConvolutionalDecoder(config, memory_dim)
        case _:
            assert_never(config)


def _memory_dim(config: EncoderConfig) -> int:
    if isinstance(config, RecurrentEncoderConfig):
        return config.memory_dim
    return config.model_dim


def _embedding_dim(config: EncoderConfig | DecoderConfig) -> int:
    if isinstance(config, TransformerConfig | ConvolutionalConfig):
        return config.model_dim
    return config.embedding_dim or config.hidden_dim


def _output_dim(config: DecoderConfig) -> int:
    is_recurrent = isinstance(config, RecurrentDecoderConfig)
    return config.hidden_dim if is_recurrent else config.model_dim
