import io
import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seqtrans.errors import DataError, RecipeError
from seqtrans.images.data.image_files import Fitting, UnreadableImageError, decode
from seqtrans.images.data.readers import common as sources
from seqtrans.images.data.readers.folder import FolderFiles
from seqtrans.images.data.readers.read import read_images

GENERATOR = np.random.default_rng(2)


def picture(height=4, width=6, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return GENERATOR.integers(0, 256, shape, dtype=np.uint8)


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def encoded(pixels, kind, **options):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def vast():
    """A PNG file of few bytes that unpacks to 64 million pixels, if it is read."""
    header = b"IHDR" + struct.pack(">2I5B", 8000, 8000, 8, 2, 0, 0, 0)
    sealed = header + struct.pack(">I", zlib.crc32(header))
    content = encoded(picture(), "PNG")
    start = content.index(b"IHDR")
    return content[:start] + sealed + content[start + len(sealed) :]


def animals(folder):
    """Three cats and two dogs, made in no order."""
    names = ["dog/b.png", "cat/2.PNG", "cat/10.png", "dog/a.png", "cat/1.png"]
    return {name: write(folder / name, picture()) for name in names}


def refused(files, known=None, kind=DataError):
    with pytest.raises(kind) as error:
        read_images(files, known)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_images_come_class_by_class_sorted_by_name(tmp_path):
    made = animals(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "cat" / ".hidden.png").write_text("no image")
    (tmp_path / "cat" / "folder.png").mkdir()
    (tmp_path / "cat" / "Thumbs.db").write_text("no image")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "readme.txt").write_text("no folder")
    image_set, report = read_images(FolderFiles(path=tmp_path))
    order = ["cat/1.png", "cat/10.png", "cat/2.PNG", "dog/a.png", "dog/b.png"]
    assert image_set.images.permute(0, 2, 3, 1).tolist() == [made[name].tolist() for name in order]
    assert image_set.images.is_contiguous()
    assert image_set.labels.tolist() == [0, 0, 0, 1, 1]
    assert image_set.classes == ("cat", "dog")
    assert str(report) == (
        "5 images of 2 classes, 4 x 6 pixels, 3 channels; 3 hidden files ignored"
    )
    (warning,) = report.warnings
    assert warning.endswith(
        "files are read: cat: 1 .txt (notes.txt); beside the class folders: 1 .txt (readme.txt)"
    )


def test_known_classes_decide_the_numbers(tmp_path):
    animals(tmp_path)
    image_set, _ = read_images(FolderFiles(path=tmp_path), known=("dog", "elk", "cat"))
    assert image_set.labels.tolist() == [0, 0, 2, 2, 2]
    own, _ = read_images(FolderFiles(path=tmp_path, classes=("dog", "cat")), known=("cat", "dog"))
    assert own.classes == ("dog", "cat")


def test_more_images_than_are_decoded_at_once_keep_their_order(tmp_path):
    for number in range(150):
        write(tmp_path / "one" / f"{number:03}.png", np.full((1, 1), number, dtype=np.uint8))
    (tmp_path / "one" / "070.png").write_text("no image")
    files = FolderFiles(path=tmp_path, channels=1, skip=("corrupt",))
    image_set, report = read_images(files)
    wanted = [number for number in range(150) if number != 70]
    assert image_set.images.flatten().tolist() == wanted
    assert len(image_set.labels) == report.kept == 149


@pytest.mark.parametrize(
    ("spoil", "fault", "said"),
    [
        (
            lambda f: (f / "cat/1.png").write_bytes(b""),
            "corrupt",
            "cat/1.png: not a readable image",
        ),
        (lambda f: write(f / "dog/b.png", picture(6, 4)), "wrong_size", "dog/b.png: is 6 x 4"),
        (lambda f: write(f / "elk/a.png", picture()), "unknown_class", "'elk' is none of the 2"),
        (lambda f: (f / "fox").mkdir(), "empty_class", "fox: class folder without images"),
    ],
)
def test_a_mistake_stops_or_is_counted_as_the_recipe_says(tmp_path, spoil, fault, said):
    animals(tmp_path)
    spoil(tmp_path)
    known = ("cat", "dog")
    message = refused(FolderFiles(path=tmp_path), known)
    assert said in message
    assert message.endswith(f"fix it, or skip it with skip: [{fault}]")
    image_set, report = read_images(FolderFiles(path=tmp_path, skip=(fault,)), known)
    assert len(image_set) == report.kept == (4 if fault in ("corrupt", "wrong_size") else 5)
    assert [len(paths) for paths in report.skipped.values()] == [1]
    assert "; skipped: 1 " in str(report)
    others = tuple({"corrupt", "wrong_size", "unknown_class", "empty_class"} - {fault})
    assert refused(FolderFiles(path=tmp_path, skip=others), known) == message


def test_a_folder_without_images_is_refused(tmp_path):
    assert refused(FolderFiles(path=tmp_path / "x")) == f"{tmp_path}/x: no such folder"
    assert "no class folders" in refused(FolderFiles(path=tmp_path))
    (tmp_path / "cat").mkdir()
    skipping = FolderFiles(path=tmp_path, skip=("empty_class", "corrupt"))
    assert "no usable image files" in refused(skipping)
    (tmp_path / "cat" / "a.png").write_text("no image")
    assert "no usable image files" in refused(skipping)
    file = tmp_path / "cat" / "a.png"
    assert refused(FolderFiles(path=file)) == f"{file}: is a file, not a folder of class folders"


def test_images_that_do_not_fit_in_memory_are_refused(tmp_path, monkeypatch):
    animals(tmp_path)
    monkeypatch.setattr(sources, "available_memory", lambda **_: 5 * 72 - 1)
    assert "5 images of 3 x 4 x 6 take" in refused(FolderFiles(path=tmp_path))
    monkeypatch.setattr(sources, "available_memory", lambda **_: 5 * 72)
    assert len(read_images(FolderFiles(path=tmp_path))[0]) == 5


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    animals(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install 'seqtrans[images]'" in refused(FolderFiles(path=tmp_path), kind=RecipeError)


def test_images_of_other_sizes_become_one_size(tmp_path):
    for number, size in enumerate([(4, 6), (30, 7), (8, 8), (50, 90)]):
        write(tmp_path / "one" / f"{number}.png", picture(*size))
    for fit in ("crop", "stretch"):
        files = FolderFiles(path=tmp_path, height=5, width=9, fit=fit)
        assert read_images(files)[1].size == (3, 5, 9)


def bars(height, width, *, across):
    """Three equal bars, of 0, 100 and 200, side by side or one above the other."""
    bar = np.repeat(np.array([0, 100, 200], dtype=np.uint8), (width if across else height) // 3)
    return np.broadcast_to(bar if across else bar[:, None], (height, width)).copy()


@pytest.mark.parametrize("across", [True, False])
def test_cropping_keeps_the_centre_and_stretching_keeps_all(tmp_path, across):
    size = (30, 90) if across else (90, 30)
    write(tmp_path / "a.png", bars(*size, across=across))
    square = {"channels": 1, "height": 30, "width": 30}
    assert (decode(tmp_path / "a.png", Fitting(**square)) == 100).all()
    whole = decode(tmp_path / "a.png", Fitting(**square, fit="stretch"))[0]
    wanted = bars(30, 30, across=across)
    assert (abs(whole.astype(int) - wanted) <= 50).all()
    assert (whole == wanted).mean() > 0.8
    middle = decode(tmp_path / "a.png", Fitting(**square, fit="stretch", crop=0.3))[0]
    assert (middle == 100).mean() > 0.9


def test_an_image_of_the_wanted_size_is_left_alone(tmp_path):
    pixels = write(tmp_path / "a.png", picture(7, 9))
    fitting = Fitting(height=7, width=9, resample="bicubic")
    assert decode(tmp_path / "a.png", fitting).transpose(1, 2, 0).tolist() == pixels.tolist()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_kinds_of_images_become_grey_or_color(tmp_path, mode, channels):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image = Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode)
    options = {"transparency": 0} if mode in ("P", "L") else {}
    image.save(tmp_path / "a", kind, **options)
    pixels = decode(tmp_path / "a", Fitting(channels=channels))
    assert pixels.shape == (channels, 4, 6)
    assert (pixels >= 254).all()


def test_an_image_is_turned_as_the_camera_noted(tmp_path):
    pixels = picture(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the top is on the right: turn clockwise
    write(tmp_path / "a.png", pixels, exif=exif)
    turned = decode(tmp_path / "a.png", Fitting()).transpose(1, 2, 0)
    assert turned.tolist() == np.rot90(pixels, -1).tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0", "^its content is not PNG, .* or PGM$"),
        (encoded(picture(), "PNG")[:-30], "."),
        (encoded(picture(40, 40), "JPEG")[:400], "(?i)truncated"),
        (
            encoded(picture(1, 1, 1).astype(np.int32), "TIFF"),
            "^32 bits per pixel have no known white",
        ),
        (encoded(picture(1, 1, 1).astype(np.float32), "TIFF"), "expected 0 to 1: convert it to 8"),
        (encoded(picture(), "PNG").replace(struct.pack(">II", 6, 4), b"\0\1\0\0" * 2), "."),
        (vast(), "8,000 x 8,000 pixels are more than 50,000,000: make it smaller"),
    ],
    ids=["format", "png", "jpeg", "deep", "float", "huge", "vast"],
)
def test_what_is_no_image_is_told_apart_from_what_can_not_be_opened(tmp_path, content, said):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=said):
        decode(tmp_path / "a.png", Fitting())
    with pytest.raises(DataError, match=r"b.png: can't be read: No such file or directory$"):
        decode(tmp_path / "b.png", Fitting())


FILES = [encoded(picture(), "PNG"), encoded(picture(), "JPEG"), encoded(picture(4, 6, 1), "PNG")]


@settings(max_examples=80)
@given(st.sampled_from(FILES), st.data())
def test_damaged_images_are_decoded_or_refused(tmp_path_factory, content, data):
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)))
        changed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "one").mkdir()
    (folder / "one" / "a.png").write_bytes(changed)
    try:
        image_set, _ = read_images(FolderFiles(path=folder))
    except DataError as error:
        said = str(error)
    else:
        said = ""
        assert len(image_set) == 1
    assert "\n" not in said
