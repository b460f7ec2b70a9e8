"""Images at another size than theirs, and fewer of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from seqtrans.images.data.augment import AugmentConfig, augment
from seqtrans.images.data.batches import ImageEpochs, evaluation_batches
from seqtrans.images.data.counter_rng import Draws
from seqtrans.images.data.dataset import ImageSet, has_channels_last, to_channels_last
from seqtrans.images.data.normalize import Normalization
from seqtrans.images.data.readers.npz import NpzFiles
from seqtrans.images.data.resize import ResizeConfig, resize
from seqtrans.images.recipe.load_data import load_image_sets
from seqtrans.images.recipe.schema import FractionConfig, ImageDataConfig

UNCHANGED = Normalization(mean=(0.0,), std=(1 / 255,))
LARGER = ResizeConfig(height=24, width=18)


def images(channels, count=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, 8, 9), dtype=torch.uint8, generator=draw)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(24, 18), (5, 4), (8, 20)])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_that_of_pillow(resample, size, last, channels):
    pixels = to_channels_last(images(channels)) if last else images(channels)
    config = ResizeConfig(height=size[0], width=size[1], resample=resample)
    found = resize(pixels, config)
    assert has_channels_last(found) is last
    for image, made in zip(pixels.numpy(), found.numpy(), strict=True):
        whole = Image.fromarray(image[0] if channels == 1 else image.transpose(1, 2, 0))
        expected = np.array(whole.resize(size[::-1], Image.Resampling[resample.upper()]))
        expected = expected.reshape(*size, channels).transpose(2, 0, 1)
        assert np.abs(made.astype(int) - expected).max() <= 1
        assert (made != expected).mean() < 0.2  # of sums that end in a half, or nearly
    assert torch.equal(resize(pixels[2:3], config), found[2:3])


def test_training_and_evaluation_show_the_model_the_same_size():
    pixels = images(3)
    some = ImageSet(pixels, torch.zeros(6, dtype=torch.int64), ("one",))
    (judged,) = evaluation_batches(some, 6, UNCHANGED, LARGER)
    learnt = ImageEpochs(some, 6, 1, UNCHANGED, AugmentConfig(), LARGER).largest()
    assert torch.equal(judged.images.round(), resize(pixels, LARGER))
    assert sorted(map(torch.Tensor.sum, learnt.images)) == sorted(
        map(torch.Tensor.sum, judged.images)
    )


@pytest.mark.parametrize("last", [False, True])
def test_augmentation_comes_before_resizing_and_cutout_after(last):
    pixels = to_channels_last(images(3)) if last else images(3)
    numbers, draws = np.arange(6), Draws(1, 2)
    moved = AugmentConfig(pad_crop=2, flip=0.5, rotate=20.0)
    small = augment(pixels.clone(), numbers, draws, moved, UNCHANGED).round().to(torch.uint8)
    found = augment(pixels.clone(), numbers, draws, moved, UNCHANGED, LARGER)
    assert torch.equal(found.round(), resize(small, LARGER).float())
    cut = augment(
        torch.full((6, 3, 8, 9), 200, dtype=torch.uint8),
        numbers, draws, AugmentConfig(cutout=6), UNCHANGED, LARGER,
    )  # fmt: skip
    holes = (cut == 0).all(1)
    assert holes.any(2).sum(1).max() == 6
    assert bool((holes[:, :, 9:].any() & holes[:, 8:].any()).item())


@pytest.fixture
def files(tmp_path):
    labels = np.arange(200) % 4
    pixels = np.arange(200, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    np.savez(tmp_path / "some.npz", images=pixels, labels=labels)
    return NpzFiles(path=tmp_path / "some.npz")


def numbers_of(image_set):
    return image_set.images[:, 0, 0, 0].tolist()


def test_a_limit_takes_of_each_class_alike_and_nothing_of_the_validation(files):
    def sets(limit):
        part = FractionConfig(fraction=0.2)
        return load_image_sets(ImageDataConfig(train=files, validation=part, limit=limit), None)

    whole, some = sets(None), sets(60)
    assert numbers_of(some.validation) == numbers_of(whole.validation)
    assert len(some.train) == 60
    assert set(numbers_of(some.train)) < set(numbers_of(whole.train))
    assert torch.bincount(some.train.labels).tolist() == [15] * 4
    assert numbers_of(sets(60).train) == numbers_of(some.train)
    assert numbers_of(sets(160).train) == numbers_of(sets(999).train) == numbers_of(whole.train)
    assert len(sets(1).train) == 1
