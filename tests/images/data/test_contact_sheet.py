"""The contact sheet: every image where it belongs, with its own words below."""

import tempfile

import numpy as np
import pytest
import torch
from PIL import Image

from seqtrans.images.data.contact_sheet import save_sheet

GAP = 4


def drawn(images, captions, **options):
    """The sheet as an array (height, width, 3)."""
    with tempfile.TemporaryFile() as file:
        save_sheet(images, captions, file, **options)
        return np.array(Image.open(file))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (7, 3)])
@pytest.mark.parametrize("caption", ["is a\ncalled b", "is a\ncalled " + "long " * 20])
def test_images_stand_in_rows_and_no_words_reach_them(channels, count, rows, caption):
    images = torch.randint(256, (count, channels, 6, 5), dtype=torch.uint8)
    sheet = drawn(images, [caption] * count, columns=3)
    columns = min(3, count)
    height, width = sheet.shape[0] // rows, sheet.shape[1] // columns
    assert sheet.shape == (rows * height, columns * width, 3)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        tile = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
        enlarged = image.permute(1, 2, 0).expand(-1, -1, 3).numpy().repeat(16, 0).repeat(16, 1)
        found = tile[GAP : GAP + 96, GAP : GAP + 80]
        assert np.array_equal(found, enlarged)
        words = tile[GAP + 96 :]
        assert (words < 128).any()
        assert (words[:, -2:] == 255).all()  # they end before the next image
        upper, lower = (words[top : top + 13] < 128 for top in (GAP, GAP + 13))
        assert upper.any()
        assert lower.any()


def test_each_image_has_its_own_words():
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    sheet = drawn(images, ["is 1\ncalled 7", "is 3\ncalled 8"])
    left, right = np.split(sheet, 2, axis=1)
    assert not np.array_equal(left, right)
    again = drawn(images, ["is 3\ncalled 8", "is 1\ncalled 7"])
    assert np.array_equal(np.concatenate((right, left), axis=1), again)
