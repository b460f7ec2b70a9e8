"""An optimizer's tensors by the names of the parameters they belong to."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from torch import nn
from torch.optim import Optimizer

from seqtrans.errors import CheckpointError
from seqtrans.tensor_types import Tensor
from seqtrans.training.distributed.sharded_tensors import part_of


def named_moments(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Everything the optimizer remembers, as ``exp_avg:<parameter name>``."""
    return {
        f"{key}:{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def restore_moments(
    model: nn.Module, optimizer: Optimizer, stored: Mapping[str, Tensor], origin: str
) -> None:
    """Undo ``named_moments`` on a fresh optimizer for the same parameters.

    Raises:
        CheckpointError: A tensor belongs to no parameter that this optimizer trains.
    """
    parameters = dict(model.named_parameters())
    by_name: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in stored.items():
        moment, _, name = key.partition(":")
        parameter = parameters.get(name)
        is_like = parameter is not None and parameter.shape == tensor.shape
        by_name[name][moment] = part_of(tensor, like=parameter) if is_like else tensor
    names = list(_trained_names(model, optimizer))
    if unknown := by_name.keys() - set(names):
        example = min(unknown)
        raise CheckpointError(f"{origin} trained {example}, which is not trained here")
    # load_state_dict knows which optimizer keeps which tensor on which device.
    state = {i: by_name[name] for i, name in enumerate(names) if name in by_name}
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def _trained_names(model: nn.Module, optimizer: Optimizer) -> Iterator[str]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield names[parameter]
