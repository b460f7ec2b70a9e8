"""Image classification as a training task: loss and validation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from seqtrans.images.data.batches import ImageBatch, ImageEpochs, evaluation_batches
from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.data.normalize import Normalization
from seqtrans.images.data.resize import ResizeConfig
from seqtrans.protocols import LossSums, ProcessGroup
from seqtrans.runtime.out_of_memory import Halving, halves_of
from seqtrans.tensor_types import Float, Tensor
from seqtrans.training.distributed.sharded_tensors import in_parts
from seqtrans.training.distributed.single_process import SINGLE_PROCESS
from seqtrans.training.micro_batches import equal_number_of_calls, shared_updates

EVALUATED = 500
"""Images that are classified at once where nothing is learnt."""


@dataclass(frozen=True)
class ClassificationTask:
    """Minimize smoothed cross-entropy; validate by loss and accuracy.

    Args:
        train: Batches to learn from.
        validation: Images to judge by.
        accumulate: Micro-batches an update; the same whatever the number of processes.
        label_smoothing: Share of the target distribution spread over all classes.
        auxiliary: Weight of the loss of a second classifier in the middle of the model; 0 where
            it has none.
        has_probabilities: Whether the model gives logits when it is judged. If not there is no
            loss to measure.
    """

    train: ImageEpochs
    validation: ImageSet
    accumulate: int = 1
    label_smoothing: float = 0.0
    auxiliary: float = 0.0
    has_probabilities: bool = True

    @property
    def unit(self) -> str:
        """See ``Task.unit``."""
        return "images"

    def updates(
        self, epoch: int, group: ProcessGroup, start: int = 0
    ) -> Iterator[Sequence[ImageBatch]]:
        """See ``Task.updates`` and ``shared_updates``."""
        return shared_updates(self.train.batches(epoch), self.accumulate, group, start)

    def updates_in(self, epochs: int) -> int:
        """See ``Task.updates_in``."""
        return epochs * -(-sum(1 for _ in self.train.batches(epoch=0)) // self.accumulate)

    def loss_sums(self, model: nn.Module, batch: ImageBatch) -> LossSums:
        """See ``Task.loss_sums``; ``accuracy`` counts what is right in each image's shares."""
        if self.auxiliary:
            logits, middle = model(batch.images, with_auxiliary=True)
            loss = self._loss(logits, batch) + self.auxiliary * self._loss(middle, batch)
        else:
            logits = model(batch.images)
            loss = self._loss(logits, batch)
        return LossSums(loss, {"accuracy": _right(logits.detach(), batch)})

    @property
    def searches(self) -> bool:
        """See ``Task.searches``."""
        return False

    def validate(self, model: nn.Module, group: ProcessGroup) -> Mapping[str, float]:
        """See ``Task.validate``: ``loss``, without label smoothing, and ``accuracy`` from 0 to 1.

        Processes share the images.
        """
        images = self.validation
        rows = slice(group.rank, None, group.world_size)
        labels = images.labels[rows]
        if not len(labels):  # fewer images than processes: compute one all the same
            rows = slice(1)
        part = ImageSet(images.images[rows], images.labels[rows], images.classes)
        # Where a batch that does not fit can't be halved, one of those that were learnt from fits.
        at_once = min(EVALUATED, self.train.batch_size) if in_parts(model) else EVALUATED
        train = self.train
        logits = classify(model, part, train.normalisation, train.resize, group, at_once)
        logits = logits[: len(labels)]
        nll = F.cross_entropy(logits, labels, reduction="sum")
        right = (logits.argmax(dim=1) == labels).sum()
        total, correct, count = group.sum([float(nll), float(right), float(len(labels))])
        metrics = {"accuracy": correct / count}
        return {"loss": total / count, **metrics} if self.has_probabilities else metrics

    def largest_batch(self) -> ImageBatch:
        """See ``Task.largest_batch``."""
        return self.train.largest()

    def _loss(self, logits: Float[Tensor, "B classes"], batch: ImageBatch) -> Float[Tensor, ""]:
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if batch.partners is None or batch.weights is None:
            return F.cross_entropy(
                wide, batch.labels, reduction="sum", label_smoothing=self.label_smoothing
            )
        loss, partner_loss = (
            F.cross_entropy(wide, labels, reduction="none", label_smoothing=self.label_smoothing)
            for labels in (batch.labels, batch.partners)
        )
        return torch.lerp(partner_loss, loss, batch.weights.to(loss.dtype)).sum()


def to_model_memory_format(images: ImageSet, model: nn.Module) -> ImageSet:
    """Return the images in the memory format that is fastest for ``model``."""
    convolves = any(isinstance(part, nn.Conv2d) for part in model.modules())
    return images.channels_last() if convolves else images


def classify(
    model: nn.Module,
    images: ImageSet,
    normalisation: Normalization,
    new_size: ResizeConfig | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    at_once: int = EVALUATED,
) -> Float[Tensor, "N classes"]:
    """Compute logits of images, in fp32 on the CPU; the model must be in evaluation mode.

    Args:
        model: What classifies.
        images: What to classify, at least one image.
        normalisation: That of the images it learnt from.
        new_size: The size that the model sees; None: that of the images.
        group: This process, where all classify with one model, each its own images; see
            ``equal_number_of_calls``.
        at_once: How many are classified at a time.
    """
    device = next(model.parameters()).device
    halving = Halving(
        "images", "take smaller ones, or a smaller model", never_split=in_parts(model)
    )

    def compute(rows: Sequence[int]) -> Tensor:
        part = slice(rows[0], rows[-1] + 1)
        some = ImageSet(images.images[part], images.labels[part], images.classes)
        (batch,) = evaluation_batches(some, len(rows), normalisation, new_size)
        return model(batch.to(device).images).float()

    rows = range(len(images))
    batches = [rows[start : start + at_once] for start in rows[::at_once]]
    calls = equal_number_of_calls(model, group, batches, spare=rows[:1])
    logits = [(halving(batch, compute, halves_of), counts) for batch, counts in calls]
    return torch.cat([part for parts, counts in logits if counts for part in parts]).cpu()


def _right(logits: Float[Tensor, "B classes"], batch: ImageBatch) -> Float[Tensor, ""]:
    predicted = logits.argmax(dim=1)
    is_label = predicted == batch.labels
    if batch.partners is None or batch.weights is None:
        return is_label.sum(dtype=torch.float32)
    is_partner = predicted == batch.partners
    return torch.lerp(is_partner.float(), is_label.float(), batch.weights.float()).sum()
