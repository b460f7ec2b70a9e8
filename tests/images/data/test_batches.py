from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.images.data.augment import AugmentConfig
from seqtrans.images.data.batches import ImageBatch, ImageEpochs, evaluation_batches
from seqtrans.images.data.dataset import ImageSet, has_channels_last, split
from seqtrans.images.data.normalize import Normalization, measure, normalize
from seqtrans.images.data.readers.idx import IdxFiles
from seqtrans.images.data.readers.read import read_images

DIGITS = Path(__file__).parents[3] / "data" / "digits"
UNCHANGED = Normalization(mean=(0.0,), std=(1 / 255,))
OFF = AugmentConfig()


def numbered(count, classes=3):
    """Images that tell their number: both pixels hold it."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 1, 2)
    names = tuple(map(str, range(classes)))
    return ImageSet(images.contiguous(), torch.arange(count) % classes, names)


def numbers_in(batch):
    return batch.images[:, 0, 0, 0].round().long().tolist()


def epochs(count=50, batch_size=8, seed=1, augmentation=OFF):
    return ImageEpochs(numbered(count), batch_size, seed, UNCHANGED, augmentation)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 5))
def test_an_epoch_has_every_image_once_with_its_label(count, batch_size, epoch):
    batches = [make() for make in epochs(count, batch_size).batches(epoch)]
    seen = [number for batch in batches for number in numbers_in(batch)]
    assert sorted(seen) == list(range(count))
    assert [int(label) for batch in batches for label in batch.labels] == [n % 3 for n in seen]
    sizes = [batch.num_targets for batch in batches]
    assert max(sizes) <= batch_size
    assert len(batches) == -(-count // batch_size)
    assert count == 1 or batch_size <= 2 or 1 not in sizes
    assert all(size == batch_size for size in sizes[:-2])


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        return [n for make in epochs(seed=seed).batches(epoch) for n in numbers_in(make())]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_a_batch_can_be_made_twice_and_out_of_turn():
    several = list(epochs(augmentation=AugmentConfig(flip=0.5, mixup=0.4)).batches(3))
    late = several[4]()
    assert torch.equal(late.images, several[4]().images)
    again = list(epochs(augmentation=AugmentConfig(flip=0.5, mixup=0.4)).batches(3))
    assert torch.equal(late.images, again[4]().images)


def test_making_a_batch_leaves_the_set_as_it_was():
    everything = AugmentConfig(pad_crop=1, flip=0.5, rotate=10.0, cutout=1, mixup=0.4)
    some = epochs(augmentation=everything)
    before = some.image_set.images.clone()
    for make in some.batches(0):
        make()
    list(evaluation_batches(some.image_set, 7, UNCHANGED))
    assert torch.equal(some.image_set.images, before)


def test_an_epoch_changes_an_image_whatever_the_size_of_batches():
    config = AugmentConfig(pad_crop=1, cutout=1)
    found = []
    for batch_size in (5, 16):
        images = {}
        some = epochs(40, batch_size, augmentation=config)
        order = [n for make in epochs(40, batch_size).batches(2) for n in numbers_in(make())]
        pixels = torch.cat([make().images for make in some.batches(2)])
        images.update(zip(order, pixels.tolist(), strict=True))
        found.append(images)
    assert found[0] == found[1]


def test_the_largest_batch_is_one_of_an_epoch():
    some = epochs(20, 8)
    assert some.largest().num_targets == 8
    assert epochs(3, 8).largest().num_targets == 3


def test_mixed_images_have_two_labels_that_share_one():
    batch = epochs(12, 12, augmentation=AugmentConfig(mixup=1.0)).largest()
    order = numbers_in(epochs(12, 12).largest())
    own, other = torch.tensor(order), torch.tensor(order[1:] + order[:1])
    assert batch.partners is not None
    assert batch.weights is not None
    assert torch.equal(batch.partners, other % 3)
    mixed = batch.weights * own + (1 - batch.weights) * other
    torch.testing.assert_close(batch.images[:, 0, 0, 0], mixed)
    assert 0 <= float(batch.weights.min()) < float(batch.weights.max()) <= 1


def test_a_batch_keeps_all_of_it_on_the_way_to_a_device():
    cpu = torch.device("cpu")
    batch = epochs(augmentation=AugmentConfig(mixup=0.3)).largest()
    moved = batch.to(cpu)
    assert all(torch.equal(getattr(moved, n), getattr(batch, n)) for n in vars(batch))
    plain = ImageBatch(batch.images, batch.labels).to(cpu)
    assert (plain.partners, plain.weights, plain.num_padded) == (None, None, 0)


@given(st.integers(1, 30), st.integers(1, 12))
def test_evaluation_goes_through_all_images_in_order(count, batch_size):
    batches = list(evaluation_batches(numbered(count), batch_size, UNCHANGED))
    assert [n for batch in batches for n in numbers_in(batch)] == list(range(count))
    assert all(batch.num_targets <= batch_size for batch in batches)


@given(st.integers(2, 200), st.floats(0.05, 0.95), st.integers(0, 3), st.integers(1, 7))
def test_a_split_divides_every_class_alike(count, fraction, seed, classes):
    whole, aside_count = numbered(count, classes), round(fraction * count)
    if aside_count in (0, count):
        with pytest.raises(ValueError, match=r"both parts need at least one"):
            split(whole, fraction, seed)
        return
    kept, aside = split(whole, fraction, seed)
    both = [part.images[:, 0, 0, 0].tolist() for part in (kept, aside)]
    assert sorted(both[0] + both[1]) == list(range(count))
    assert both == [sorted(part) for part in both]
    assert len(aside) == aside_count
    for label in range(classes):
        size = int((whole.labels == label).sum())
        assert abs(int((aside.labels == label).sum()) - size * aside_count / count) < 1
    assert both[1] == [n for n in both[1] if whole.labels[n] == n % classes]
    again = split(whole, fraction, seed)[1]
    assert torch.equal(again.images, aside.images)


def test_the_seed_decides_what_is_set_aside():
    parts = [split(numbered(100), 0.3, seed)[1].images.flatten().tolist() for seed in (1, 2)]
    assert parts[0] != parts[1]


@pytest.mark.parametrize("last", [False, True])
def test_measured_images_have_mean_0_and_deviation_1(last):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 200, (3000, 3, 4, 5), dtype=torch.uint8, generator=generator)
    images[:, 1] //= 3
    images[:, 2] = 7
    whole = ImageSet(images, torch.zeros(3000, dtype=torch.int64), ("one",))
    whole = whole.channels_last() if last else whole
    measured = measure(whole.images)
    numbers = normalize(whole.images, measured)
    assert has_channels_last(numbers) is last
    torch.testing.assert_close(numbers.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    deviation = numbers.std((0, 2, 3), correction=0)
    torch.testing.assert_close(deviation, torch.tensor([1.0, 1.0, 0.0]), atol=1e-4, rtol=0)
    assert measured.std[2] == 1.0


def test_a_normalization_needs_both_for_every_channel():
    with pytest.raises(ValueError, match=r"mean has 3 channels and std 1"):
        Normalization(mean=(0.5, 0.5, 0.5), std=(0.5,))


def test_the_digits_that_ship_are_whole():
    parts = []
    for name, count in (("train", 1437), ("test", 360)):
        files = IdxFiles(
            images=DIGITS / f"{name}-images-idx3-ubyte", labels=DIGITS / f"{name}-labels-idx1-ubyte"
        )
        part, report = read_images(files)
        assert str(report) == f"{count:,} images of 10 classes, 8 x 8 pixels, 1 channel"
        parts.append(part)
    levels = np.rint(np.arange(17) * 255 / 16)
    assert set(np.unique(parts[0].images.numpy())) == set(levels)
    counts = [torch.bincount(part.labels) for part in parts]
    share = counts[1] / (counts[0] + counts[1])
    assert bool(((share - 360 / 1797).abs() < 1 / 174).all())
    # scikit-learn says how many there are of each in all.
    whole = (counts[0] + counts[1]).tolist()
    assert whole == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
