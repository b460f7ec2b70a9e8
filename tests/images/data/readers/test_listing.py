"""What is read of a folder, and that all else is named."""

import os

import numpy as np
import pytest
from PIL import Image

from seqtrans.errors import DataError
from seqtrans.images.data.readers.folder import FolderFiles
from seqtrans.images.data.readers.listing import list_images, printable
from seqtrans.images.data.readers.read import read_images


def write(path, shade=0, kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), (shade,) * 3).save(path, kind)


def names(folder, **options):
    return [str(path.relative_to(folder)) for path in list_images(folder, **options).images]


def test_endings_and_beginnings_tell_images_from_others(tmp_path):
    for name in ("a.jfif", "b.JPE", "c.webp", "d.TIFF", "e.ppm"):
        (tmp_path / name).write_text("judged when it is decoded")
    for name, kind in (("f", "PNG"), ("g.dat", "JPEG"), ("h.x", "GIF"), ("i", "WEBP")):
        write(tmp_path / name, kind=kind)
    for name in ("j.heic", "k.svg", "l", "m.HEIC", "n.nef"):
        (tmp_path / name).write_bytes(b"II*\0 RIFF")  # raw photographs also begin as TIFF
    for name in (".DS_Store", "Thumbs.db", "._a.png"):
        (tmp_path / name).write_text("")
    listing = list_images(tmp_path)
    assert "".join(path.name[0] for path in listing.images) == "abcdefghi"
    assert str(listing) == (
        "2 .heic (j.heic, m.HEIC), 1 .nef (n.nef), 1 .svg (k.svg), 1 without extension (l)"
    )
    assert listing.hidden == 3


def test_of_many_some_are_named(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.heic").write_text("")
    assert str(list_images(tmp_path)) == "5 .heic (0.heic, 1.heic, 2.heic and 2 more)"


def test_folders_within_come_after_files_sorted(tmp_path):
    for name in ("b/2.png", "b/a/1.png", "a/1.png", "z.png", "a.png"):
        write(tmp_path / name)
    assert names(tmp_path) == ["a.png", "z.png", "a/1.png", "b/2.png", "b/a/1.png"]
    assert names(tmp_path, old=True) == ["a.png", "z.png"]
    assert str(list_images(tmp_path, old=True)) == "2 subfolders (a, b)"


def test_links_are_followed_once(tmp_path):
    write(tmp_path / "x" / "1.png")
    write(tmp_path / "elsewhere" / "2.png")
    (tmp_path / "x" / "loop").symlink_to(tmp_path / "x")
    (tmp_path / "x" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "x" / "other again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "x" / "same.png").symlink_to(tmp_path / "x" / "1.png")
    (tmp_path / "x" / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "x" / "pipe.png")
    assert names(tmp_path / "x") == ["1.png", "same.png", "other/2.png"]
    assert str(list_images(tmp_path / "x")) == (
        "1 broken links (gone.png), 2 links to folders already read (loop, other again), "
        "1 not regular files (pipe.png)"
    )


def warnings_of(folder, **options):
    return list(read_images(FolderFiles(path=folder), **options)[1].warnings)


def test_what_is_left_out_is_said_by_class(tmp_path):
    for name in ("cat/a.png", "dog/a.png", "c.png"):
        write(tmp_path / name)
    (tmp_path / "dog" / "b.heic").write_text("")
    (tmp_path / "itself").symlink_to(tmp_path)
    assert warnings_of(tmp_path) == [
        "skipped, as only PNG, JPEG, WebP, BMP, GIF, TIFF, PPM or PGM files are read: dog: "
        "1 .heic (b.heic); beside the class folders: 1 .png (c.png), 1 folders (itself)"
    ]


def test_many_classes_are_summed_up(tmp_path):
    for number in range(8):
        write(tmp_path / str(number) / "a.png")
        (tmp_path / str(number) / "b.heic").write_text("")
    assert warnings_of(tmp_path)[0].endswith("4: 1 .heic (b.heic); 3 more classes: 3 files")


def test_a_run_from_before_reads_what_it_read(tmp_path):
    for name in ("cat/a.png", "cat/more/b.png", "dog/a.jpg", "dog/b.webp"):
        write(tmp_path / name)
    image_set, report = read_images(FolderFiles(path=tmp_path), background=None)
    assert len(image_set) == 2
    assert len(read_images(FolderFiles(path=tmp_path))[0]) == 4
    assert report.warnings == [
        "skipped, as only PNG or JPEG (as when this run began) files are read: "
        "cat: 1 subfolders (more); dog: 1 .webp (b.webp)"
    ]


@pytest.mark.parametrize("pair", [("Cat", "cat"), ("caf\u00e9", "cafe\u0301")])
def test_classes_with_nearly_the_same_name_are_doubted(tmp_path, pair):
    for name in pair:
        write(tmp_path / name / "a.png")
    (warning,) = warnings_of(tmp_path)
    assert "differ only in case or Unicode form" in warning
    with pytest.raises(DataError, match=f"it differs from '{pair[0]}' only in"):
        read_images(FolderFiles(path=tmp_path), (pair[0], "dog"))


def test_a_folder_above_that_of_the_classes_is_doubted(tmp_path):
    for name in ("train/cat", "train/dog", "val/cat", "val/dog"):
        write(tmp_path / name / "a.png")
    (warning,) = warnings_of(tmp_path)
    assert warning.startswith("all class folders (train, val) have the same subfolders (cat, dog)")
    write(tmp_path / "val" / "a.png")
    assert warnings_of(tmp_path) == []


def test_names_that_are_no_text(tmp_path):
    write(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / os.fsdecode(b"\xff.txt")).write_text("")
    assert "cat: 1 .txt (\\xff.txt)" in warnings_of(tmp_path)[0]
    write(tmp_path / os.fsdecode(b"caf\xe9") / "a.png")
    with pytest.raises(DataError, match="the name of this class folder is not UTF-8"):
        read_images(FolderFiles(path=tmp_path))


def test_an_empty_class_says_what_it_has_instead(tmp_path):
    write(tmp_path / "cat" / "a.png")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.heic").write_text("")
    with pytest.raises(DataError, match=r"without images, but with 1 .heic \(a.heic\)"):
        read_images(FolderFiles(path=tmp_path))


def test_images_keep_their_order_in_folders_within(tmp_path):
    for shade, name in ((1, "cat/z.png"), (2, "cat/a/b.png"), (3, "cat/b/a.png"), (4, "dog/a.png")):
        write(tmp_path / name, shade)
    image_set, _ = read_images(FolderFiles(path=tmp_path))
    assert image_set.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert np.array_equal(image_set.labels, [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("name", "said"),
    [("a\nb.png", "a\\nb.png"), ("caf\udce9", "caf\\xe9"), ("größe 1", "größe 1")],
)
def test_a_name_is_said_in_one_line(name, said):
    assert printable(name) == said
