"""Every kind of image file gives the pixels that it stands for."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from seqtrans.images.data.image_files import Fitting, UnreadableImageError, color, decode

GENERATOR = np.random.default_rng(3)
COLORS = GENERATOR.integers(0, 256, (6, 5, 3), dtype=np.uint8)
ALPHA = GENERATOR.choice(np.array([0, 255], dtype=np.uint8), (6, 5, 1))
DEEP = GENERATOR.integers(0, 65536, (6, 5, 4)).astype(np.uint16)
DEEP[..., 3] = 65535 * (ALPHA[..., 0] == 255)
BACKGROUND = (10, 200, 30)
GREY, COLOR = Fitting(channels=1), Fitting()


def pixels_of(path, fitting=COLOR, background=BACKGROUND):
    return decode(path, fitting, background).transpose(1, 2, 0).astype(int)


def on_background(pixels, alpha, ground=BACKGROUND):
    """What compositing is by definition (Porter and Duff, 1984)."""
    share = alpha.astype(float) / 255
    return np.rint(share * pixels + (1 - share) * np.array(ground))


def png(color_type, rows, *chunks):
    """A PNG file of 16 bits a channel, which Pillow does not write."""
    header = struct.pack(">2I5B", rows.shape[1], rows.shape[0], 16, color_type, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows))
    parts = ((b"IHDR", header), *chunks, (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
    ],
)
def test_all_kinds_that_lose_nothing_give_the_same_pixels_by_any_name(tmp_path, kind, options):
    for name in ("a.png", "no-ending"):
        Image.fromarray(COLORS).save(tmp_path / name, kind, **options)
        assert (pixels_of(tmp_path / name) == COLORS).all()


@pytest.mark.parametrize(("kind", "name"), [("JPEG", "a.jfif"), ("WEBP", "a.webp")])
def test_kinds_that_lose_something_give_nearly_the_same(tmp_path, kind, name):
    smooth = np.linspace(50, 200, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / name, kind, quality=95)
    assert abs(pixels_of(tmp_path / name) - smooth).max() < 12


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_pictures_the_first_counts(tmp_path, kind):
    first, second = (Image.new("RGB", (4, 4), color) for color in ("red", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    first.save(tmp_path / "a", kind, save_all=True, append_images=[second], **options)
    assert (pixels_of(tmp_path / "a") == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("partly", [False, True])
def test_what_is_transparent_shows_the_background(tmp_path, kind, partly):
    alpha = GENERATOR.integers(0, 256, (6, 5, 1), dtype=np.uint8) if partly else ALPHA
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    Image.fromarray(np.concatenate([COLORS, alpha], axis=2)).save(tmp_path / "a", kind, **options)
    assert abs(pixels_of(tmp_path / "a") - on_background(COLORS, alpha)).max() <= partly
    white = decode(tmp_path / "a", COLOR).transpose(1, 2, 0)
    assert abs(white - on_background(COLORS, alpha, (255,) * 3)).max() <= partly


def test_grey_and_palettes_with_what_is_transparent(tmp_path):
    grey = Image.fromarray(np.concatenate([COLORS[..., :1], ALPHA], axis=2), "LA")
    grey.save(tmp_path / "la.png")
    wanted = on_background(np.repeat(COLORS[..., :1], 3, axis=2), ALPHA)
    assert (pixels_of(tmp_path / "la.png") == wanted).all()
    palette = Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8), "P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 50, 60, 70, 255, 0, 0])
    wanted = np.array([[(0, 0, 0), BACKGROUND], [(50, 60, 70), (255, 0, 0)]])
    for name in ("p.png", "p.gif"):
        palette.save(tmp_path / name, transparency=1)
        assert (pixels_of(tmp_path / name) == wanted).all()
    key = Image.fromarray(COLORS)
    key.save(tmp_path / "key.png", transparency=tuple(COLORS[0, 0].tolist()))
    assert (pixels_of(tmp_path / "key.png")[0, 0] == BACKGROUND).all()
    assert (pixels_of(tmp_path / "key.png")[1:] == COLORS[1:]).all()


def test_without_a_background_the_color_in_the_file_shows(tmp_path):
    Image.fromarray(np.concatenate([COLORS, ALPHA], axis=2)).save(tmp_path / "a.png")
    assert (pixels_of(tmp_path / "a.png", background=None) == COLORS).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4], ids=["grey", "grey-alpha", "rgb", "rgba"])
def test_sixteen_bits_keep_their_range(tmp_path, channels):
    taken = DEEP[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    (tmp_path / "a.png").write_bytes(png({1: 0, 2: 4, 3: 2, 4: 6}[channels], taken))
    colors = DEEP[..., :1].repeat(3, 2) if channels < 3 else DEEP[..., :3]
    wanted = on_background(colors >> 8, ALPHA) if channels in (2, 4) else colors >> 8
    assert (pixels_of(tmp_path / "a.png") == wanted).all()


def test_sixteen_bits_with_a_transparent_value(tmp_path):
    grey = DEEP[..., :1].copy()
    grey[0] = 300
    (tmp_path / "a.png").write_bytes(png(0, grey, (b"tRNS", struct.pack(">H", 300))))
    found = pixels_of(tmp_path / "a.png")
    assert (found[0] == BACKGROUND).all()
    assert (found[1:] == grey[1:] >> 8).all()


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_deep_grey_of_other_kinds(tmp_path, compression):
    grey = DEEP[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.tif", compression=compression)
    assert (pixels_of(tmp_path / "a.tif", GREY)[..., 0] == grey >> 8).all()
    Image.fromarray(grey).save(tmp_path / "b.tif", tiffinfo={262: 0})  # white is 0
    assert (pixels_of(tmp_path / "b.tif", GREY)[..., 0] == 255 - (grey >> 8)).all()
    (tmp_path / "c.pgm").write_bytes(b"P5\n5 6\n4095\n" + (grey >> 4).astype(">u2").tobytes())
    assert (pixels_of(tmp_path / "c.pgm", GREY)[..., 0] == grey >> 8).all()
    Image.fromarray((grey / 65535).astype(np.float32)).save(tmp_path / "d.tif")
    assert (pixels_of(tmp_path / "d.tif", GREY)[..., 0] == np.rint(grey / 257)).all()


def test_numbers_of_unknown_range_are_refused(tmp_path):
    for number, values in enumerate(([0, 255], [-1, 1], [0, float("nan")])):
        Image.fromarray(np.array([values], dtype=np.float32)).save(tmp_path / f"{number}.tif")
        with pytest.raises(UnreadableImageError, match="expected 0 to 1"):
            decode(tmp_path / f"{number}.tif", GREY)


def test_a_deep_image_is_turned_as_the_camera_noted(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "a.png", exif=exif)
    found = pixels_of(tmp_path / "a.png", GREY)[..., 0]
    assert (found == np.rot90(DEEP[..., 0] >> 8, -1)).all()


def test_colors_have_names():
    assert color("white") == (255, 255, 255)
    assert color("navy") == (0, 0, 128)
    assert color("#0a0B0c") == (10, 11, 12)
    for name in ("whit", "#00000000", ""):
        with pytest.raises(ValueError, match=r"\w"):
            color(name)
