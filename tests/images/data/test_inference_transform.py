"""Pictures as networks want them: scaled, cut out and normalized."""

import numpy as np
import pytest
import torch
from PIL import Image

from seqtrans.errors import DataError
from seqtrans.images.data.inference_transform import InputSpec, read_prepared


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def read(path, size, *, crop=1.0, how="bicubic", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)):
    return read_prepared(path, InputSpec(size, crop, how, mean, std))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def test_the_middle_is_cut_out_of_the_scaled_picture(pixels, tmp_path):
    path = save(tmp_path / "a.png", pixels)
    expected = torch.from_numpy(pixels[4:36, 4:36]).permute(2, 0, 1) / 255
    assert torch.equal(read(path, 32, crop=0.8), expected)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (41, 40)])
def test_the_shorter_side_is_scaled_and_the_longer_keeps_its_shape(height, width, tmp_path):
    rows, columns = np.mgrid[:height, :width] * 2.0 + 50
    grey = np.stack([rows, columns, rows + columns - 50], axis=-1).astype(np.uint8)
    found = read(save(tmp_path / "a.png", grey), 16, crop=0.8) * 255
    scale = min(height, width) / 20
    middle = [(side - 1) / 2 * 2 + 50 for side in (height, width)]
    assert found[0].mean() == pytest.approx(middle[0], abs=2.1 * scale)
    assert found[1].mean() == pytest.approx(middle[1], abs=2.1 * scale)
    slope = 2 * scale  # brightness from pixel to pixel
    assert found[0].diff(dim=0).mean() == pytest.approx(slope, rel=0.05)
    assert found[1].diff(dim=1).mean() == pytest.approx(slope, rel=0.05)


def test_each_color_is_normalized_alone(tmp_path):
    plain = np.full((9, 9, 3), (51, 102, 255), np.uint8)
    path = save(tmp_path / "a.png", plain)
    found = read(path, 4, mean=(0.1, 0.2, 0.5), std=(0.1, 0.5, 0.25))
    expected = torch.tensor([1.0, 0.4, 2.0])[:, None, None].expand(3, 4, 4)
    torch.testing.assert_close(found, expected)


def test_the_way_of_scaling_is_heeded(pixels, tmp_path):
    path = save(tmp_path / "a.png", pixels)
    for how, resample in [("bilinear", 2), ("bicubic", 3)]:
        scaled = np.asarray(Image.fromarray(pixels).resize((20, 20), resample))
        assert torch.equal(
            read(path, 20, how=how), torch.from_numpy(scaled.copy()).permute(2, 0, 1) / 255
        )


def test_a_crop_given_as_a_ratio_scales_to_whole_pixels(pixels, tmp_path):
    path = save(tmp_path / "a.png", pixels)
    for size, shorter in [(14, 25), (9, 28), (18, 28), (28, 32)]:  # 25 > 14 / (14 / 25)
        scaled = Image.fromarray(pixels).resize((shorter, shorter), 3)
        edge = round((shorter - size) / 2)
        expected = np.array(scaled)[edge : edge + size, edge : edge + size]
        found = read(path, size, crop=size / shorter)
        assert torch.equal(found, torch.from_numpy(expected).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_picture_becomes_red_green_and_blue(mode, pixels, tmp_path):
    Image.fromarray(pixels).convert(mode).save(path := tmp_path / "a.tiff")
    assert read(path, 16).shape == (3, 16, 16)


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"x" * 50])
def test_what_is_no_picture_is_one_line_with_the_file(content, tmp_path):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.png: (can't be read|not a readable image): [^\n]+$"):
        read(path, 16)


def test_a_picture_cut_short_is_refused(pixels, tmp_path):
    path = save(tmp_path / "a.jpg", pixels)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match="not a readable image"):
        read(path, 16)
