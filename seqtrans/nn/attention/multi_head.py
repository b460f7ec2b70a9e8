"""Multi-head attention; keys and values are passed as data, not kept as module state."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seqtrans.nn.attention.kv_cache import KeyValue, KVCache
from seqtrans.nn.dropout import dropout_factors
from seqtrans.nn.kernels.linear import Linear
from seqtrans.nn.positions import Rotation
from seqtrans.tensor_types import Bool, Float, Tensor

_UNPLANNED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class HeadNorm(nn.RMSNorm):
    """RMS normalization of the features of every head, with a learned gain shared by all heads.

    Normalized queries and keys bound the scores of attention (QK-norm, arXiv:2010.04245, with the
    norm of arXiv:1910.07467 and a gain per feature instead of one temperature).
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__(head_dim, eps=1e-6)

    def forward(self, x: Float[Tensor, "B H P E"]) -> Float[Tensor, "B H P E"]:
        """Normalize; under autocast in the type of ``x``."""
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps).to(x.dtype)


class SelfAttention(nn.Module):
    """Positions of one sentence attend to each other (arXiv:1706.03762, 3.2.2).

    Args:
        model_dim: Features of input and output.
        num_heads: Number of heads; must divide ``model_dim``.
        dropout: Probability of dropping an attention weight while training.
        qk_norm: Whether to normalize queries and keys; see ``HeadNorm``.
        value_residual: Whether to add the values of the first layer to the values, with a learned
            factor for each, at first 0.5 (arXiv:2410.17897).

    Raises:
        ValueError: ``num_heads`` does not divide ``model_dim``.
    """

    def __init__(
        self,
        model_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        *,
        qk_norm: bool = False,
        value_residual: bool = False,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim(model_dim, num_heads)
        self.dropout = dropout
        self.projection = Linear(model_dim, 3 * model_dim)  # query, key, value
        self.output_projection = Linear(model_dim, model_dim)
        self.query_norm, self.key_norm = _norms(self.head_dim, qk_norm=qk_norm)
        self.value_factors = nn.Parameter(torch.full((2,), 0.5)) if value_residual else None

    def forward(
        self,
        x: Float[Tensor, "B P D"],
        mask: Bool[Tensor, "B #H #P P"] | Float[Tensor, "#B H P P"] | None = None,
        rotation: Rotation | None = None,
        first_value: Float[Tensor, "B H P E"] | None = None,
    ) -> tuple[Float[Tensor, "B P D"], Float[Tensor, "B H P E"]]:
        """Attend to the positions in the mask; without a mask, causally. See ``attend``.

        Returns:
            The output, and ``first_value``, the values of the first layer: there None is given.
        """
        query, key, value, first_value = self._project(x, rotation, first_value)
        heads = attend(query, key, value, mask, self.dropout if self.training else 0.0)
        return self.output_projection(join_heads(heads)), first_value

    def begin(self, sentences: int, like: Float[Tensor, "..."]) -> KVCache:
        """Return an empty cache with the type and device of a tensor."""
        heads = self.output_projection.in_features // self.head_dim
        return KVCache(like.new_empty((2, sentences, heads, 0, self.head_dim)), 0, [0])

    def step(
        self,
        token: Float[Tensor, "B K D"],
        kv_cache: KVCache,
        ancestry: Bool[Tensor, "B 1 K M"] | Float[Tensor, "B H K M"],
        rotation: Rotation | None = None,
        first_value: Float[Tensor, "B H K E"] | None = None,
    ) -> tuple[Float[Tensor, "B K D"], KVCache, Float[Tensor, "B H K E"]]:
        """Attend from one new token per hypothesis to itself and its ancestors.

        ``ancestry`` is the mask of their slots in the cache, including the K new ones.
        ``first_value`` belongs to the new tokens; see ``forward``.
        """
        query, key, value, first_value = self._project(token, rotation, first_value)
        kv_cache = kv_cache.append(torch.stack((key, value)))
        key, value = kv_cache.buffer[:, :, :, : kv_cache.length]  # (B, H, M, E)
        heads = attend(query, key, value, ancestry)
        return self.output_projection(join_heads(heads)), kv_cache, first_value

    def _project(
        self,
        x: Float[Tensor, "B P D"],
        rotation: Rotation | None,
        first_value: Float[Tensor, "B H P E"] | None,
    ) -> tuple[
        Float[Tensor, "B H P E"],
        Float[Tensor, "B H P E"],
        Float[Tensor, "B H P E"],
        Float[Tensor, "B H P E"],
    ]:
        """Return query, key, value and the value of the first layer."""
        query, key, value = (
            split_heads(part, self.head_dim) for part in self.projection(x).chunk(3, dim=-1)
        )
        query, key = self.query_norm(query), self.key_norm(key)
        if rotation is not None:
            query, key = rotation.rotate(query), rotation.rotate(key)
        if first_value is None:
            return query, key, value, value
        if self.value_factors is not None:
            own, first = self.value_factors
            value = own * value + first * first_value
        return query, key, value, first_value


class CrossAttention(nn.Module):
    """Target positions or hypotheses attend to the source (arXiv:1706.03762, 3.2.2).

    Args:
        model_dim: Features of queries and output.
        memory_dim: Features of the source memory.
        num_heads: Number of heads; must divide ``model_dim``.
        dropout: Probability of dropping an attention weight while training.
        qk_norm: Whether to normalize queries and keys; see ``HeadNorm``.

    Raises:
        ValueError: ``num_heads`` does not divide ``model_dim``.
    """

    def __init__(
        self,
        model_dim: int,
        memory_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        *,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim(model_dim, num_heads)
        self.dropout = dropout
        self.query_projection = Linear(model_dim, model_dim)
        self.memory_projection = Linear(memory_dim, 2 * model_dim)  # key, value
        self.output_projection = Linear(model_dim, model_dim)
        self.query_norm, self.key_norm = _norms(self.head_dim, qk_norm=qk_norm)

    def project(self, memory: Float[Tensor, "B M memory"], mask: Bool[Tensor, "B M"]) -> KeyValue:
        """Project memory to keys and values, once for all decoding steps."""
        key, value = (
            split_heads(part, self.head_dim)
            for part in self.memory_projection(memory).chunk(2, dim=-1)
        )
        return KeyValue(self.key_norm(key), value, mask)

    def forward(self, query: Float[Tensor, "B Q D"], memory: KeyValue) -> Float[Tensor, "B Q D"]:
        """Attend from each query to the memory."""
        heads = attend(
            self._heads_of(query),
            memory.key,
            memory.value,
            memory.mask[:, None, None],
            self.dropout if self.training else 0.0,
        )
        return self.output_projection(join_heads(heads))

    def weights(self, query: Float[Tensor, "B Q D"], memory: KeyValue) -> Float[Tensor, "B H Q M"]:
        """Return the weights of ``forward`` in every head, in at least fp32; no dropout."""
        return head_weights(self._heads_of(query), memory.key, memory.mask)

    def _heads_of(self, query: Float[Tensor, "B Q D"]) -> Float[Tensor, "B H Q E"]:
        return self.query_norm(split_heads(self.query_projection(query), self.head_dim))


def head_weights(
    query: Float[Tensor, "B H Q E"], key: Float[Tensor, "B H M E"], mask: Bool[Tensor, "B M"]
) -> Float[Tensor, "B H Q M"]:
    """Return the weights of scaled dot-product attention, in at least fp32."""
    wide = torch.promote_types(query.dtype, torch.float32)
    scores = (query.to(wide) * query.size(-1) ** -0.5) @ key.to(wide).mT
    return scores.masked_fill(~mask[:, None, None], float("-inf")).softmax(dim=-1)


def _norms(head_dim: int, *, qk_norm: bool) -> tuple[nn.Module, nn.Module]:
    """Build the norms of queries and keys."""
    return (HeadNorm(head_dim), HeadNorm(head_dim)) if qk_norm else (nn.Identity(), nn.Identity())


def attend(
    query: Float[Tensor, "B H Q E"],
    key: Float[Tensor, "B H M E"],
    value: Float[Tensor, "B H M E"],
    mask: Bool[Tensor, "B #H #Q M"] | Float[Tensor, "#B H Q M"] | None,
    dropout: float = 0.0,
) -> Float[Tensor, "B H Q E"]:
    """Compute scaled dot-product attention; without a mask, causal attention.

    A mask of numbers is added to the scores.

    In bf16 on a CPU it is computed in single steps, since PyTorch's fused kernel takes 3 to 5 times
    as long (torch 2.13, forward and backward, 32 to 128 positions); in fp32 the kernel is faster.
    """
    if mask is not None and mask.is_floating_point():
        mask = mask.to(query.dtype)
    if not (query.is_cpu and query.dtype == torch.bfloat16):
        return fused_attention(query, key, value, mask, dropout)
    if mask is None:
        mask = query.new_ones((query.size(2), key.size(2)), dtype=torch.bool).tril()
    # A strided tensor, such as a cache with free slots or one head among others, torch would copy
    # and transpose number by number.
    key = key.contiguous()
    scores = (query * query.size(-1) ** -0.5) @ key.transpose(-1, -2)  # (B, H, Q, M)
    if mask.dtype == torch.bool:
        scores = scores.masked_fill_(~mask, float("-inf"))
    else:
        scores = scores + mask
    weights = scores.softmax(dim=-1)
    if dropout:
        weights = weights * dropout_factors(weights, dropout)
    return weights @ value


def fused_attention(
    query: Float[Tensor, "B H Q E"],
    key: Float[Tensor, "B H M E"],
    value: Float[Tensor, "B H M E"],
    mask: Bool[Tensor, "B #H #Q M"] | Float[Tensor, "#B H Q M"] | None,
    dropout: float = 0.0,
) -> Float[Tensor, "B H Q E"]:
    """Compute ``attend`` by a fused kernel other than cuDNN's, the default in bf16 on some GPUs.

    cuDNN makes a new plan for every shape, and batches of text nearly always have a new shape.
    Training a base Transformer on an H200 (torch 2.11), a batch of 12,000 tokens took 0.4 s, but
    0.05 s if its shape had occurred before.
    """
    plans = query.dtype == torch.bfloat16 and not query.is_cpu
    with sdpa_kernel(_UNPLANNED) if plans else nullcontext():
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=mask is None
        )


def head_dim(model_dim: int, num_heads: int) -> int:
    """Return the number of features of one head.

    Raises:
        ValueError: ``num_heads`` does not divide ``model_dim``.
    """
    if model_dim % num_heads:
        raise ValueError(f"num_heads ({num_heads}) must divide model_dim ({model_dim})")
    return model_dim // num_heads


def split_heads(x: Float[Tensor, "B P D"], head_dim: int) -> Float[Tensor, "B H P E"]:
    """Split features into heads."""
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def join_heads(heads: Float[Tensor, "B H P E"]) -> Float[Tensor, "B P D"]:
    """Concatenate the features of all heads."""
    return heads.transpose(1, 2).flatten(2)
