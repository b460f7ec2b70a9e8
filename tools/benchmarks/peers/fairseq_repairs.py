"""What fairseq 0.12.2 needs to run with Python 3.11 and torch 2; called before it is imported."""

import dataclasses
from typing import Any

import torch


def allow_dataclass_defaults() -> None:
    """Let a dataclass field default to a dataclass, as Python did until 3.10.

    fairseq 0.12.2 and hydra 1.0 are full of them, and Python 3.11 refuses unhashable defaults.
    """
    get_field = dataclasses._get_field

    def get_any_field(cls: type, name: str, *rest: Any) -> Any:
        default = cls.__dict__.get(name)
        if isinstance(default, dataclasses.Field):
            default = default.default
        if dataclasses.is_dataclass(default) and type(default).__hash__ is None:
            type(default).__hash__ = object.__hash__
        return get_field(cls, name, *rest)

    dataclasses._get_field = get_any_field


def say_mask_type() -> None:
    """Let fairseq's fast encoder call torch as before 1.13, when a mask had no type.

    Without this, torch refuses the call: ``Mask Type should be defined``.
    """
    layer = torch._transformer_encoder_layer_fwd
    padding = 1  # a mask of (batch, position), not of (position, position)

    def typed_layer(*arguments: Any) -> torch.Tensor:
        mask = arguments[-1]
        return layer(*arguments, None if mask is None else padding)

    torch._transformer_encoder_layer_fwd = typed_layer
