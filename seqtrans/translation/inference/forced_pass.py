"""What a decoder reads of the source, under teacher forcing."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from seqtrans.nn.attention.kv_cache import KeyValue
from seqtrans.nn.attention.multi_head import CrossAttention
from seqtrans.nn.attention.recurrent import Attention, AttentionState, ProjectedMemory
from seqtrans.tensor_types import Float, Int, Tensor
from seqtrans.translation.models.encoder_decoder import EncoderDecoder
from seqtrans.translation.models.ensemble import Ensemble
from seqtrans.translation.models.output.shortlist import Shortlisted
from seqtrans.translation.protocols import SourceBatch


def forced_pass(
    model: nn.Module, source: SourceBatch, target_input: Int[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B T S"]]:
    """Return the logits of all next tokens, or log-probabilities, and the attention to the source.

    Of several heads the attention is their mean; of several layers that of the last but one, whose
    heads agree best with word alignments (arXiv:1909.02074, 4.1); of an ensemble, the mean. Each
    row sums to 1. A shortlist has no effect.

    Raises:
        TypeError: The model is none of ours.
    """
    match model:
        case Shortlisted():
            return forced_pass(model.model, source, target_input)
        case Ensemble():
            every = [forced_pass(member, source, target_input) for member in model.members]
            log_probs = model.mean([_wide(logits).log_softmax(-1) for logits, _ in every])
            return log_probs, torch.stack([attention for _, attention in every]).mean(0)
        case EncoderDecoder():
            with _recorded(model) as layers:
                logits = model.logits(source, target_input)
            last_but_one = list(layers.values())[-2:][0]
            return logits, _wide(torch.cat(last_but_one, dim=1))
        case _:
            raise TypeError(f"{type(model).__name__} has no attention to look at")


def log_probs_of(
    logits: Float[Tensor, "B T V"], target: Int[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Return the log-probability of each given token, in at least fp32."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    wanted = logits.gather(2, target[:, :, None])[:, :, 0].to(wide)
    return wanted - logits.to(wide).logsumexp(2)


def _wide(x: Float[Tensor, "B T X"]) -> Float[Tensor, "B T X"]:
    return x.to(torch.promote_types(x.dtype, torch.float32))


@contextmanager
def _recorded(model: nn.Module) -> Generator[dict[str, list[Float[Tensor, "B Q S"]]]]:
    """Record the weights of every attention to the source, by module, in calls within the context.

    A decoder may attend to all positions at once, or to one after the other.
    """
    layers: dict[str, list[Tensor]] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, CrossAttention):
                hook = module.register_forward_hook(_heads_recorder(layers.setdefault(name, [])))
                stack.callback(hook.remove)
            elif isinstance(module, Attention):
                # ``attend`` is no ``forward``: an attribute of the object hides the method.
                recorder = _recorder(module, layers.setdefault(name, []))
                object.__setattr__(module, "attend", recorder)
                stack.callback(object.__delattr__, module, "attend")
        yield layers


def _heads_recorder(seen: list[Tensor]) -> Callable[..., None]:
    def record(module: CrossAttention, inputs: tuple[Tensor, KeyValue], output: Tensor) -> None:
        del output
        seen.append(module.weights(*inputs).mean(1))

    return record


def _recorder(attention: Attention, seen: list[Tensor]) -> Callable[..., Any]:
    attend = attention.attend

    def attend_and_record(query: Tensor, memory: ProjectedMemory, state: AttentionState) -> Any:
        seen.append(attention.weigh(query, memory, state)[0])
        return attend(query, memory, state)

    return attend_and_record
