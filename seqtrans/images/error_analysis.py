"""Error analysis of a classifier: confusion matrix and most confident mistakes."""

from typing import NamedTuple

import torch
from torch import nn

from seqtrans.images.confusion_matrix import Confusion, confusion
from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.data.normalize import Normalization
from seqtrans.images.data.resize import ResizeConfig
from seqtrans.images.task import classify, to_model_memory_format


class Mistake(NamedTuple):
    """An image whose class was predicted wrongly.

    Attributes:
        number: Number of the image in its set, from 0.
        label: Its class.
        called: The predicted class.
        probability: Probability of the predicted class.
    """

    number: int
    label: int
    called: int
    probability: float


class Judgement(NamedTuple):
    """Result of classifying images; mistakes are sorted, the most confident first."""

    confusion: Confusion
    mistakes: list[Mistake]


@torch.inference_mode()
def judge(
    model: nn.Module,
    images: ImageSet,
    normalisation: Normalization,
    new_size: ResizeConfig | None = None,
) -> Judgement:
    """Classify images and compare with their labels.

    Args:
        model: What classifies, in evaluation mode.
        images: What to classify, at least one image.
        normalisation: That of the images it learnt from.
        new_size: The size that the model sees; None: that of the images.
    """
    logits = classify(model, to_model_memory_format(images, model), normalisation, new_size)
    probabilities, predicted = logits.softmax(dim=1).max(dim=1)
    wrong = (predicted != images.labels).nonzero()[:, 0].tolist()
    mistakes = [
        Mistake(i, int(images.labels[i]), int(predicted[i]), float(probabilities[i])) for i in wrong
    ]
    counts = confusion(images.labels.tolist(), predicted.tolist(), images.classes)
    return Judgement(counts, sorted(mistakes, key=lambda m: (-m.probability, m.number)))
