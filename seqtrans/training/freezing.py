"""Parts of a model that do not learn."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from seqtrans.errors import TrainingError


def freeze(model: nn.Module, patterns: Sequence[str]) -> int:
    """Take every parameter whose name matches a shell pattern out of training.

    A pattern is a full name or holds ``*``, which also crosses dots: ``encoder.*``.

    Returns:
        How many parameters (tensors) do not learn now.

    Raises:
        TrainingError: A pattern matches nothing, or nothing is left to learn.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matched = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matched:
            raise TrainingError(_no_match(pattern, list(parameters)))
        for name in matched:
            parameters[name].requires_grad = False
    frozen = sum(not p.requires_grad for p in parameters.values())
    if frozen == len(parameters):
        raise TrainingError(f"freeze: {', '.join(patterns)} leave no parameter to train")
    return frozen


def _no_match(pattern: str, names: list[str]) -> str:
    near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
    return f"freeze: no parameter matches '{pattern}'; there are {', '.join(near)}, ..."
