"""All that a run remembers besides tensors."""

from dataclasses import dataclass, field

from seqtrans.config.types import Count, NonNegativeFloat
from seqtrans.training.stopping import StoppingState


@dataclass
class TrainState:
    """Where a run stands; with the weights and the optimizer, all that resuming needs."""

    epoch: Count = 0  # being trained, from 0
    updates_in_epoch: Count = 0  # done in that epoch
    micro_batches_in_epoch: Count = 0  # that those were made of
    step: Count = 0  # updates done in all
    validated_step: Count = 0  # step of the last validation; 0: none yet
    seconds: NonNegativeFloat = 0.0  # spent training, over all resumptions
    lr_scale: NonNegativeFloat = 1.0  # what a plateau schedule has made of the rate
    stopping: StoppingState = field(default_factory=StoppingState)

    def __str__(self) -> str:
        """Return where the run stands, for people: they count epochs from 1."""
        return f"step {self.step:,} in epoch {self.updated_epoch + 1}"

    @property
    def updated_epoch(self) -> int:
        """That of the last update, from 0; the update may have been the last of its epoch."""
        return self.epoch - 1 if self.step and not self.updates_in_epoch else self.epoch
