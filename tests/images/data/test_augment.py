import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqtrans.images.data.augment import AugmentConfig, augment
from seqtrans.images.data.counter_rng import Draw, Draws
from seqtrans.images.data.dataset import has_channels_last, to_channels_last
from seqtrans.images.data.normalize import Normalization
from seqtrans.images.data.transforms import crop_padded, cut_out, flip, mix, rotate

EVERYTHING = AugmentConfig(pad_crop=2, flip=0.5, rotate=20.0, cutout=3)
GREY = Normalization(mean=(0.3,), std=(0.2,))
COLOR = Normalization(mean=(0.3, 0.4, 0.5), std=(0.2, 0.3, 0.4))


def noise(count, channels, height, width, *, last=False):
    generator = torch.Generator().manual_seed(height * width + channels)
    shape = (count, channels, height, width)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return to_channels_last(images) if last else images


def augmented(images, numbers, seed=1, epoch=0, config=EVERYTHING):
    normalisation = GREY if images.shape[1] == 1 else COLOR
    pixels = to_channels_last(images) if has_channels_last(images) else images.clone()
    return augment(pixels[numbers], np.array(numbers), Draws(seed, epoch), config, normalisation)


@pytest.mark.parametrize(("channels", "width"), [(1, 9), (3, 16)])
@given(st.lists(st.integers(0, 39), min_size=1, max_size=20, unique=True), st.integers(0, 99))
def test_an_image_is_changed_alike_in_any_company(channels, width, chosen, epoch):
    images = noise(40, channels, 8, width)
    together = augmented(images, list(range(40)), epoch=epoch)
    assert torch.equal(augmented(images, chosen, epoch=epoch), together[chosen])


@pytest.mark.parametrize("change", [{"seed": 2}, {"epoch": 1}])
@pytest.mark.parametrize("name", ["pad_crop", "flip", "rotate", "cutout"])
def test_seed_and_epoch_decide(name, change):
    images, numbers = noise(40, 1, 8, 8), list(range(40))
    config = AugmentConfig(**{name: getattr(EVERYTHING, name)})
    same = augmented(images, numbers, config=config)
    assert torch.equal(same, augmented(images, numbers, config=config))
    other = augmented(images, numbers, config=config, **change)
    assert int((same != other).flatten(1).any(1).sum()) > 10


@pytest.mark.parametrize("channels", [1, 3])
def test_the_order_in_memory_is_kept_and_changes_nothing(channels):
    numbers = list(range(30))
    first = augmented(noise(30, channels, 8, 10), numbers)
    last = augmented(noise(30, channels, 8, 10, last=True), numbers)
    assert first.is_contiguous()
    assert not has_channels_last(first)
    assert has_channels_last(last)
    assert last.permute(0, 2, 3, 1).is_contiguous()
    assert torch.equal(first, last)


def test_without_augmentation_images_are_only_normalized():
    images = noise(5, 3, 4, 6)
    plain = augmented(images, list(range(5)), config=AugmentConfig())
    mean, std = (torch.tensor(v)[:, None, None] for v in (COLOR.mean, COLOR.std))
    torch.testing.assert_close(plain, (images / 255 - mean) / std)


@given(st.integers(0, 4), st.data())
def test_a_crop_moves_an_image_by_its_offsets(padding, data):
    offsets = st.integers(0, 2 * padding)
    top, left = data.draw(offsets), data.draw(offsets)
    images = noise(2, 3, 5, 7)
    places = torch.tensor([top, padding]), torch.tensor([left, padding])
    moved, still = crop_padded(images, padding, *places)
    assert torch.equal(still, images[1])
    for y in range(5):
        for x in range(7):
            row, column = y + top - padding, x + left - padding
            inside = 0 <= row < 5 and 0 <= column < 7
            wanted = images[0, :, row, column] if inside else torch.zeros(3)
            assert moved[:, y, x].tolist() == wanted.tolist()


def test_flipping_twice_is_nothing_and_once_swaps_left_and_right():
    images, chosen = noise(6, 3, 4, 5), torch.tensor([True, False] * 3)
    once = flip(images.clone(), chosen)
    assert torch.equal(once[~chosen], images[~chosen])
    assert torch.equal(once[chosen], images[chosen][..., range(4, -1, -1)])
    assert torch.equal(flip(once.clone(), chosen), images)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("turns", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("side", [8, 9])
def test_right_angles_are_those_of_rot90(side, turns, last):
    images = noise(3, 3, side, side, last=last)
    turned = rotate(images, torch.full((3,), 90.0 * turns, dtype=torch.float64))
    assert torch.equal(turned, torch.rot90(images, turns, (-2, -1)).float())


def test_an_oblong_image_keeps_its_proportions():
    images = torch.zeros(1, 1, 21, 41, dtype=torch.uint8)
    images[0, 0, 10, 30] = 255  # 10 to the right of the center
    turned = rotate(images, torch.tensor([90.0], dtype=torch.float64))
    assert turned.nonzero().tolist() == [[0, 0, 0, 20]]  # 10 above it
    around = rotate(images, torch.tensor([180.0], dtype=torch.float64))
    assert around.nonzero().tolist() == [[0, 0, 10, 10]]


def test_a_slight_turn_moves_a_point_by_its_angle():
    images = torch.zeros(1, 1, 101, 101, dtype=torch.uint8)
    images[0, 0, 49:52, 89:92] = 255  # 40 to the right of the center
    turned = rotate(images, torch.tensor([30.0], dtype=torch.float64))[0, 0]
    y, x = ((turned * axis).sum() / turned.sum() for axis in torch.meshgrid(
        torch.arange(101.0), torch.arange(101.0), indexing="ij"))  # fmt: skip
    assert (float(x), float(y)) == pytest.approx((50 + 40 * 0.8660, 50 - 20), abs=0.1)


@given(st.integers(1, 9), st.integers(0, 4), st.integers(0, 6), st.sampled_from([1, 3]))
def test_cutout_zeroes_a_square_around_its_centre(size, row, column, channels):
    for last in (False, True):
        images = torch.ones(2, channels, 5, 7)
        images = to_channels_last(images) if last else images
        places = torch.tensor([row, 0]), torch.tensor([column, 0])
        cut = cut_out(images, size, *places)[0]
        top, left = row - size // 2, column - size // 2
        ys, xs = range(top, top + size), range(left, left + size)
        wanted = [[float(y not in ys or x not in xs) for x in range(7)] for y in range(5)]
        assert cut.tolist() == [wanted] * channels


def test_a_square_that_fits_has_its_whole_area():
    cut = cut_out(torch.ones(1, 1, 20, 20), 6, torch.tensor([9]), torch.tensor([11]))
    assert int((cut == 0).sum()) == 36


@pytest.mark.parametrize("last", [False, True])
def test_mixing_weighs_an_image_and_the_next_by_shares_of_one(last):
    images = noise(4, 3, 5, 5, last=last).float()
    weights = torch.tensor([0.0, 0.25, 0.9, 1.0])
    mixed = mix(images, weights)
    share = weights[:, None, None, None]
    torch.testing.assert_close(mixed, share * images + (1 - share) * images[[1, 2, 3, 0]])
    torch.testing.assert_close(mix(torch.ones(4, 1, 2, 2), weights), torch.ones(4, 1, 2, 2))
    assert has_channels_last(mixed) is last


def test_crops_of_an_epoch_are_spread_evenly():
    top = Draws(seed=3, epoch=5).below(np.arange(90_000), Draw.TOP, 9)
    left = Draws(seed=3, epoch=5).below(np.arange(90_000), Draw.LEFT, 9)
    counts = torch.bincount(top * 9 + left, minlength=81).double()  # of 81, 1,111 expected in each
    statistic = float(((counts - 90_000 / 81) ** 2 / (90_000 / 81)).sum())
    assert len(counts) == 81
    assert 40 < statistic < 135  # chi-squared of 80 degrees: 0.01 % below, 0.01 % above


def changed(image, count, **config):
    """What becomes of ``count`` copies of a grey image of zeros and ones."""
    copies = (image * 255).to(torch.uint8).expand(count, 1, -1, -1).contiguous()
    unchanged = Normalization(mean=(0.0,), std=(1.0,))
    return augment(copies, np.arange(count), Draws(1, 1), AugmentConfig(**config), unchanged)[:, 0]


def test_crops_and_squares_reach_every_place():
    point = torch.zeros(9, 9)
    point[4, 4] = 1
    places = changed(point, 600, pad_crop=2).nonzero()
    assert len(places) == 600
    assert set(map(tuple, places[:, 1:].tolist())) == {
        (y, x) for y in range(2, 7) for x in range(2, 7)
    }
    holes = (changed(torch.ones(5, 7), 600, cutout=1) == 0).nonzero()
    assert len(holes) == 600
    assert set(map(tuple, holes[:, 1:].tolist())) == {(y, x) for y in range(5) for x in range(7)}


def test_the_share_of_flipped_images_is_the_one_asked_for():
    flipped = changed(torch.tensor([[0.0, 1.0]]), 2000, flip=0.25)[:, 0, 0]
    assert set(flipped.tolist()) == {0.0, 1.0}
    assert float(flipped.sum()) == pytest.approx(500, abs=4 * (2000 * 0.25 * 0.75) ** 0.5)
    assert bool((changed(torch.tensor([[0.0, 1.0]]), 99, flip=1.0)[:, 0, 0] == 1).all())


def test_turns_are_spread_evenly_either_way():
    spot = torch.zeros(41, 41)
    spot[19:22, 34:37] = 1  # 15 to the right of the center
    turned = changed(spot, 400, rotate=30.0)
    y, x = torch.meshgrid(torch.arange(20.0, -21, -1), torch.arange(-20.0, 21), indexing="ij")
    angles = torch.atan2((turned * y).sum((1, 2)), (turned * x).sum((1, 2))).rad2deg()
    assert float(angles.min()) == pytest.approx(-30, abs=1.5)
    assert float(angles.max()) == pytest.approx(30, abs=1.5)
    assert float(angles.mean()) == pytest.approx(0, abs=4 * 30 / 3**0.5 / 20)


@pytest.mark.parametrize("number", list(Draw))
def test_draws_are_uniform_and_independent(number):
    images = np.arange(20_000)
    one = Draws(1, 1).uniform(images, number)
    assert float(one.min()) >= 0
    assert float(one.max()) < 1
    # Kolmogorov's distance from uniform; exceeds 1.95 / sqrt(n) once in a thousand.
    distance = (one.sort().values - torch.arange(20_000) / 20_000).abs().max()
    assert float(distance) < 1.95 / 20_000**0.5
    others = [
        Draws(2, 1).uniform(images, number),
        Draws(1, 2).uniform(images, number),
        Draws(1, 1).uniform(images, number + 1),
        one.roll(1),
    ]
    correlations = torch.corrcoef(torch.stack([one, *others]))[0, 1:]
    assert float(correlations.abs().max()) < 4 / 20_000**0.5


def test_draws_follow_splitmix64():
    draws = Draws(7, 8)
    state = int(draws._start[0])
    for position in range(1, 4):
        z = (state + position * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        z ^= z >> 31
        assert float(draws.uniform(np.array([position - 1]), 0)) == (z >> 11) / 2**53


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 0.6, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    """Its mean is 1/2 and its variance 1 / (4 (2 alpha + 1)); its fourth moment by recursion."""
    shares = Draws(1, 1).beta(np.arange(40_000), alpha).double()
    assert bool(((shares >= 0) & (shares <= 1)).all())
    moments = [1.0]
    for k in range(4):
        moments.append(moments[-1] * (alpha + k) / (2 * alpha + k))
    for k, wanted in enumerate(moments):
        power = shares**k
        error = 4 * float(power.std()) / 200  # of the mean of 40,000
        assert float(power.mean()) == pytest.approx(wanted, abs=error + 1e-12)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
@given(st.lists(st.integers(0, 99), min_size=1, max_size=9, unique=True))
def test_a_share_is_that_of_its_image(alpha, chosen):
    every = Draws(1, 1).beta(np.arange(100), alpha)
    assert torch.equal(Draws(1, 1).beta(np.array(chosen), alpha), every[chosen])


@given(st.lists(st.integers(0, 99), min_size=1, max_size=9, unique=True))
def test_drawing_for_all_images_at_once_changes_nothing(chosen):
    known, images = Draws(1, 1, 100), np.array(chosen)
    for _ in range(2):  # the second time from memory
        for draw in (Draw.TOP, Draw.ANGLE):
            assert torch.equal(known.uniform(images, draw), Draws(1, 1).uniform(images, draw))
        for alpha in (0.3, 1.0):
            assert torch.equal(known.beta(images, alpha), Draws(1, 1).beta(images, alpha))
