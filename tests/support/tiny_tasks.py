"""Learning problems of every kind, small enough for tests."""

import itertools
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from seqtrans.images.data.augment import AugmentConfig
from seqtrans.images.data.batches import ImageEpochs
from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.data.normalize import measure
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.models.mlp import Mlp, MlpConfig
from seqtrans.images.task import ClassificationTask
from seqtrans.translation.data.corpus_files import encode_corpus, open_corpus
from seqtrans.translation.models.encoder_decoder import EncoderDecoder, ModelConfig
from seqtrans.translation.models.recurrent_decoder_config import RecurrentDecoderConfig
from seqtrans.translation.models.transformer import (
    TransformerDecoderConfig,
    TransformerEncoderConfig,
)
from seqtrans.translation.search.config import BeamConfig
from seqtrans.translation.task import TranslationTask, Validation
from seqtrans.translation.tokenization.segmenters import train_segmenters
from seqtrans.translation.tokenization.sentencepiece_segmenter import SubwordConfig, UnigramSampling

WORDS = "the lamp in kitchen is on off door of garage opens closes when it rains today"


def sentences():
    generator = torch.Generator().manual_seed(0)
    for n in torch.randint(1, 12, (300,), generator=generator).tolist():
        chosen = torch.randint(len(WORDS.split()), (n,), generator=generator).tolist()
        line = " ".join(WORDS.split()[i] for i in chosen)
        yield line, line[::-1]


def classification(*, augmented=False):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (90, 3, 6, 5), generator=generator).to(torch.uint8)
    labels = torch.randint(4, (90,), generator=generator)
    whole = ImageSet(images, labels, tuple("abcd"))
    learnt, held_out = whole.take(np.arange(67)), whole.take(np.arange(67, 90))
    changes = AugmentConfig(pad_crop=1, flip=0.5, rotate=20.0, cutout=2, mixup=0.3)
    augmentation = changes if augmented else AugmentConfig()
    epochs = ImageEpochs(learnt, 8, 3, measure(images), augmentation)
    return ClassificationTask(epochs, held_out, accumulate=2, label_smoothing=0.1)


def translation_task(folder, *, sampled, judged=300, both_directions_epochs=0):
    """A task to translate ``sentences``; the first so many of them are those of its validation."""
    sampling = UnigramSampling(alpha=0.1) if sampled else None
    config = SubwordConfig(vocab_size=50, byte_fallback=False, sampling=sampling)
    segmenters = train_segmenters(config, sentences, folder / "vocabulary")
    corpora = {}
    for name, count, keep_text in (("train", 300, sampling is not None), ("valid", judged, False)):
        (folder / name).mkdir()
        pairs = itertools.islice(sentences(), count)
        encode_corpus(pairs, segmenters, None, keep_text=keep_text, folder=folder / name)
        corpora[name] = open_corpus(folder / name)
    sources, references = zip(*itertools.islice(sentences(), judged), strict=True)
    decoding = BeamConfig(beam_size=1, max_length=20, batch_tokens=500)
    return TranslationTask(
        train=corpora["train"],
        validation=Validation(corpora["valid"], [sources], references, decoding, None),
        segmenters=segmenters,
        batch_tokens=200,
        accumulate=2,
        seed=3,
        both_directions_epochs=both_directions_epochs,
    )


class OfDoubles(nn.Module):
    """An image classifier in fp64; images are fp32."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model(image.double())


def learner(kind, folder):
    """Task and model, both with dropout; micro-batches of an epoch do not fill its last update."""
    torch.manual_seed(0)
    if kind == "images":
        config = MlpConfig(widths=(16,), dropout=0.1)
        model = OfDoubles(Mlp(config, ImageShape(3, 6, 5), 4))
        return replace(classification(augmented=True), accumulate=4), model.double()
    task = replace(translation_task(folder, sampled=False, judged=30), accumulate=4)
    sizes = (len(segmenter.pieces) for segmenter in task.segmenters)
    config = ModelConfig(
        encoder=TransformerEncoderConfig(
            num_layers=2, model_dim=16, num_heads=2, ffn_dim=32, dropout=0.1
        ),
        decoder=RecurrentDecoderConfig(hidden_dim=16, num_layers=1, dropout=0.1),
    )
    return task, EncoderDecoder(SWITCHED if kind == "switched" else config, *sizes).double()


SIZES = {"num_layers": 1, "model_dim": 16, "num_heads": 2, "ffn_dim": 32}
SWITCHES = SIZES | {
    "num_layers": 3,
    "qk_norm": True,
    "value_residual": True,
    "positions": "relative",
    "layer_dropout": 0.3,
}
SWITCHED = ModelConfig(
    encoder=TransformerEncoderConfig(**SWITCHES),
    decoder=TransformerDecoderConfig(**SWITCHES),
    logit_soft_cap=5.0,
)


def model_of(task):
    torch.manual_seed(0)
    if isinstance(task, ClassificationTask):
        return Mlp(MlpConfig(widths=(9,), dropout=0.5), ImageShape(3, 6, 5), 4).eval()
    config = ModelConfig(
        encoder=TransformerEncoderConfig(**SIZES), decoder=TransformerDecoderConfig(**SIZES)
    )
    size = len(task.segmenters.source.pieces)
    return EncoderDecoder(config, size, size).eval()


def small_model(task):
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=TransformerEncoderConfig(**SIZES), decoder=TransformerDecoderConfig(**SIZES)
    )
    size = len(task.segmenters.source.pieces)
    return EncoderDecoder(config, size, size)
