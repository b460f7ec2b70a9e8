import gzip
import pickle
import pickletools
import struct
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtrans import config
from seqtrans.errors import DataError, RecipeError
from seqtrans.images.data.readers import common as sources
from seqtrans.images.data.readers.cifar import CifarFiles
from seqtrans.images.data.readers.cifar_pickle import read_dictionary
from seqtrans.images.data.readers.idx import IdxFiles
from seqtrans.images.data.readers.npz import NpzFiles
from seqtrans.images.data.readers.read import ImageFiles, read_images

GENERATOR = np.random.default_rng(1)
GREY = GENERATOR.integers(0, 256, (5, 3, 4), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 2, 0], dtype=np.uint8)
PIXELS = GENERATOR.integers(0, 256, (3, 3072), dtype=np.uint8)
PROTOCOLS = (2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    train: ImageFiles


def idx(values):
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + (
        values.tobytes()
    )


def idx_files(folder, images=None, labels=None, **options):
    (folder / "images").write_bytes(idx(GREY) if images is None else images)
    (folder / "labels").write_bytes(idx(LABELS) if labels is None else labels)
    return IdxFiles(images=folder / "images", labels=folder / "labels", **options)


def cifar_files(folder, *contents, **options):
    paths = [folder / f"batch_{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return CifarFiles(files=tuple(paths), **options)


def binary(labels, pixels=PIXELS):
    return b"".join(bytes(row) + image.tobytes() for row, image in zip(labels, pixels, strict=True))


def python2(labels=(9, 0, 5), pixels=PIXELS):
    """A batch as Python 2 wrote those that can be downloaded: strings, protocol 2."""
    items = b"".join(b"K" + bytes([label]) for label in labels)
    return (
        b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03"
        b"U\x06labelsq\x04]q\x05(" + items + b"eU\x04dataq\x06cnumpy.core.multiarray\n"
        b"_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09(K\x01K\x03M\x00\x0c"
        b"\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<I", pixels.size) + pixels.tobytes()
    ) + b"tbU\tfilenamesq\x0c]q\x0d(U\x05a.pngU\x05b.pngU\x05c.pngeu."


def npz_files(folder, **arrays):
    np.savez(folder / "set.npz", **{"images": GREY, "labels": LABELS, **arrays})
    return NpzFiles(path=folder / "set.npz")


def as_text(value):
    """Name of a test's case: what it expects to be said, not the bytes it says it of."""
    return value if isinstance(value, str) else ""


def refused(files, known=None):
    with pytest.raises(DataError) as error:
        read_images(files, known)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_are_read_whether_packed_or_not(tmp_path, pack):
    image_set, report = read_images(idx_files(tmp_path, pack(idx(GREY)), pack(idx(LABELS))))
    assert image_set.images[:, 0].tolist() == GREY.tolist()
    assert image_set.labels.tolist() == LABELS.tolist()
    assert image_set.classes == ("0", "1", "2")
    assert str(report) == "5 images of 3 classes, 3 x 4 pixels, 1 channel"


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (
            idx(LABELS),
            None,
            "images: not an idx file of images: starts with 00000801, expected 00000803",
        ),
        (
            None,
            idx(GREY),
            "labels: not an idx file of labels: starts with 00000803, expected 00000801",
        ),
        (b"", None, "images: not an idx file of images: starts with nothing"),
        (idx(GREY)[:9], None, "images: truncated header"),
        (
            idx(GREY)[:-1],
            None,
            "images: truncated: expected 60 bytes after the header, for 5 x 3 x 4 values, but",
        ),
        (idx(GREY) + b"x", None, "images: too long: expected 60 bytes"),
        (gzip.compress(idx(GREY))[:-9], None, "images: truncated or damaged gzip file"),
        (idx(GREY[:, :0]), None, "images: has images of 0 x 4 pixels"),
        (idx(GREY[:4]), None, "images has 4 images but "),
        (idx(GREY[:0]), idx(LABELS[:0]), "labels: has no images"),
        (struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), None, "GB are free; make the images"),
    ],
    ids=as_text,
)
def test_what_is_wrong_with_an_idx_file_is_named(tmp_path, images, labels, said):
    assert said in refused(idx_files(tmp_path, images, labels))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    files = idx_files(tmp_path)
    files.labels.unlink()
    assert refused(files) == f"{tmp_path}/labels: no such file"
    files.labels.mkdir()
    assert refused(files) == f"{tmp_path}/labels: is a folder, not a file"


def test_classes_have_the_names_of_recipe_file_or_training_images(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\r\n\ndog \nsnow leopard\n")
    wanted = ("cat", "dog", "snow leopard")
    assert read_images(idx_files(tmp_path, classes=wanted))[0].classes == wanted
    assert read_images(idx_files(tmp_path, classes=names))[0].classes == wanted
    assert read_images(idx_files(tmp_path), known=wanted)[0].classes == wanted
    said = "labels: label 2 is 2, but classes go from 0 to 1"
    assert refused(idx_files(tmp_path), known=("cat", "dog")) == f"{tmp_path}/{said}"
    names.write_text("cat\ncat\n")
    assert refused(idx_files(tmp_path, classes=names)) == f"{names}: 'cat' is given twice"
    names.write_text("\n")
    assert refused(idx_files(tmp_path, classes=names)).endswith("give one for each class")


@pytest.mark.parametrize("names", [(), ("a", "a"), ("a", " ")])
def test_names_that_are_no_good_are_refused_in_the_recipe(tmp_path, names):
    with pytest.raises(ValueError, match=r"^classes: "):
        idx_files(tmp_path, classes=names)


def test_binary_batches_follow_each_other(tmp_path):
    files = cifar_files(tmp_path, binary([[9], [0], [5]]), binary([[1]], PIXELS[:1]))
    image_set, _ = read_images(files)
    assert image_set.labels.tolist() == [9, 0, 5, 1]
    wanted = np.concatenate([PIXELS, PIXELS[:1]]).reshape(4, 3, 32, 32)
    assert image_set.images.tolist() == wanted.tolist()
    assert image_set.classes == tuple("0123456789")


@pytest.mark.parametrize(("labels", "wanted"), [("coarse", [19, 0, 3]), ("fine", [99, 1, 2])])
def test_cifar100_has_two_labels_an_image(tmp_path, labels, wanted):
    content = binary([[19, 99], [0, 1], [3, 2]])
    batch = {b"data": PIXELS, b"coarse_labels": [19, 0, 3], b"fine_labels": [99, 1, 2]}
    for stored in (content, pickle.dumps(batch)):
        image_set, _ = read_images(cifar_files(tmp_path, stored, labels=labels))
        assert image_set.labels.tolist() == wanted
        assert image_set.images.flatten(1).tolist() == PIXELS.tolist()
        assert len(image_set.classes) == {"coarse": 20, "fine": 100}[labels]


@pytest.mark.parametrize("protocol", [*PROTOCOLS, "python 2"])
@pytest.mark.parametrize("keys", [bytes, str])
def test_batches_for_python_are_read(tmp_path, protocol, keys):
    if protocol == "python 2":
        content = python2()
    else:
        batch = {"labels": [9, 0, 5], "data": PIXELS, "filenames": ["a", "b", "c"]}
        batch = {k.encode() if keys is bytes else k: v for k, v in batch.items()}
        content = pickle.dumps(batch, protocol=protocol)
    image_set, _ = read_images(cifar_files(tmp_path, content))
    assert image_set.labels.tolist() == [9, 0, 5]
    assert image_set.images.flatten(1).tolist() == PIXELS.tolist()


class Dangerous:
    def __reduce__(self):
        return eval, ("1 / 0",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            binary([[9], [0], [5]])[:-1],
            "9,218 bytes are not a multiple of 3073, the size of an image with 1 label:",
        ),
        (b"", "0 bytes are not a multiple"),
        (binary([[9], [10], [5]]), "batch_0: label 2 is 10, but classes go from 0 to 9"),
        (pickle.dumps(Dangerous()), "imports 'builtins.eval', which is not allowed"),
        (pickle.dumps({"labels": Dangerous()}, 2), "imports '__builtin__.eval'"),
        (b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\3\0\0\0hex\x86R.", "unexpected function call"),
        (b"\x80\x02c_codecs\nencode\n}X\x01\0\0\0aK\x01sb.", "unexpected change of a function"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "memo index out of range"),
        (b"\x80\x02}N" + b"\x85" * 1_000_000 + b"Ns.", "more than 100 tuples"),
        (pickle.dumps([1]), "expected a dictionary"),
        (pickle.dumps({"data": PIXELS})[:-1], "not a CIFAR batch for Python, or damaged"),
        (pickle.dumps({"labels": [1]}), "not a CIFAR batch: no 'data' with 3072 bytes per image"),
        (pickle.dumps({"data": PIXELS}), "no list of integers 'labels'"),
        (pickle.dumps({"data": PIXELS, "labels": [1, "2", 3]}), "no list of integers"),
        (pickle.dumps({"data": PIXELS, "labels": [1]}), "3 images but 1 labels"),
        (pickle.dumps({"data": PIXELS.astype(float)}), "array of type 'f8'"),
        (pickle.dumps({"data": np.asfortranarray(PIXELS)}, 3), "not uint8 in C order"),
        (
            pickle.dumps({"data": PIXELS}, 3).replace(b"K\x03M\x00\x0c", b"K\x04M\x00\x0c"),
            "whose shape does not match",
        ),
    ],
    ids=as_text,
)
def test_what_is_no_cifar_batch_is_refused(tmp_path, content, said):
    assert said in refused(cifar_files(tmp_path, content))


def test_cifar_needs_a_name_for_each_class(tmp_path):
    said = refused(cifar_files(tmp_path, binary([[9], [0], [5]]), classes=("a", "b")))
    assert said.endswith("has 10 classes, but 2 names are given")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.text() | st.binary(min_size=1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3)
    | st.tuples(inner, inner),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=5), PLAIN, max_size=4))
def test_plain_values_are_those_that_pickle_gives(protocol, values):
    assert read_dictionary(pickle.dumps(values, protocol=protocol)) == values


@pytest.mark.parametrize("name", sorted(op.name for op in pickletools.opcodes))
def test_no_instruction_reaches_a_module(name, monkeypatch):
    """Whatever follows it, an instruction is refused or gives plain values."""
    monkeypatch.setattr("builtins.__import__", None)
    op = next(op for op in pickletools.opcodes if op.name == name)
    before = b"\x80\x04}(\x8c\x02os\x8c\x06system"
    with pytest.raises(ValueError, match=r"."):
        read_dictionary(before + op.code.encode("latin1") + b"\x02os\nsystem\n\x85R.")


def mutated(data, content):
    """A copy of a file with some bytes changed, left out or put in."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)))
        new = data.draw(st.binary(max_size=3))
        changed[at : at + data.draw(st.integers(0, 3))] = new
    return bytes(changed)


def reads_or_says_why(files):
    """Either images come that fit their labels, or an error of ours of one line."""
    try:
        image_set, _ = read_images(files)
    except DataError as error:
        said = str(error)
    else:
        said = ""
        assert len(image_set.images) == len(image_set.labels)
        assert int(image_set.labels.max()) < len(image_set.classes)
    assert "\n" not in said


@settings(max_examples=50)
@given(st.data())
def test_damaged_idx_files_are_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("idx")
    pack = data.draw(st.sampled_from([bytes, gzip.compress]))
    reads_or_says_why(idx_files(folder, mutated(data, pack(idx(GREY)))))
    reads_or_says_why(idx_files(folder, labels=mutated(data, pack(idx(LABELS)))))


@settings(max_examples=50)
@given(st.data())
def test_damaged_batches_for_python_are_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cifar")
    sevens = np.full((3, 3072), 7, dtype=np.uint8)  # their place can be found in any protocol
    batch = {"labels": [1, 2, 3], "filenames": ["a", b"b"], "data": sevens}
    written = [pickle.dumps(batch, protocol=protocol) for protocol in PROTOCOLS]
    content = data.draw(st.sampled_from([python2(pixels=sevens), *written]))
    start = content.index(sevens.tobytes())
    end = start + sevens.size
    reads_or_says_why(cifar_files(folder, mutated(data, content[:start]) + content[start:]))
    reads_or_says_why(cifar_files(folder, content[:end] + mutated(data, content[end:])))


@settings(max_examples=50)
@given(st.data())
def test_damaged_archives_are_read_or_refused(tmp_path_factory, data):
    files = npz_files(tmp_path_factory.mktemp("npz"))
    files.path.write_bytes(mutated(data, files.path.read_bytes()))
    reads_or_says_why(files)


@pytest.mark.parametrize("channels", ["first", "last"])
def test_arrays_are_read_with_channels_first_or_last(tmp_path, channels):
    color = GENERATOR.integers(0, 256, (5, 3, 6, 7), dtype=np.uint8)
    stored = color if channels == "first" else color.transpose(0, 2, 3, 1)
    np.savez_compressed(tmp_path / "a.npz", x=stored, y=LABELS[:, None].astype(np.int32))
    files = NpzFiles(path=tmp_path / "a.npz", images="x", labels="y", channels=channels)
    image_set, _ = read_images(files)
    assert image_set.images.tolist() == color.tolist()
    assert image_set.images.is_contiguous()
    assert image_set.labels.tolist() == LABELS.tolist()
    grey, report = read_images(npz_files(tmp_path))
    assert grey.images[:, 0].tolist() == GREY.tolist()
    assert report.size == (1, 3, 4)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"images": GREY.astype(np.float32)},
            "images has type float32 and shape (5,",
        ),
        ({"images": GREY[0]}, "shape (3, 4), expected uint8"),
        ({"images": GREY[:4]}, "images has 4 images but labels has 5 labels"),
        ({"labels": LABELS * 1.0}, "labels has type float64"),
        ({"labels": np.eye(5, dtype=int)}, "shape (5, 5), expected one integer"),
        ({"labels": LABELS.astype(int) - 1}, "label 1 is -1, but classes go from 0"),
        (
            {"labels": np.array([Dangerous()] * 5)},
            "not an .npz file, or damaged: Object arrays cannot be loaded",
        ),
    ],
    ids=as_text,
)
def test_arrays_that_are_no_images_are_refused(tmp_path, arrays, said):
    assert said in refused(npz_files(tmp_path, **arrays))


def test_what_is_no_archive_or_lacks_an_array_is_refused(tmp_path):
    files = npz_files(tmp_path)
    other = NpzFiles(path=files.path, images="pictures")
    assert refused(other).endswith("has no array 'pictures'; it has images, labels")
    files.path.write_bytes(pickle.dumps(Dangerous()))
    assert "not an .npz file, or damaged: File is not a zip file" in refused(files)


def test_members_that_are_no_arrays_are_refused(tmp_path):
    files = npz_files(tmp_path)
    for content in (
        b"text",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((((",
        b"\x93NUMPY\x01\x00\xff",
    ):
        with zipfile.ZipFile(files.path, "w") as packed:
            packed.writestr("images.npy", content)
            packed.writestr("labels.npy", content)
        assert "damaged" in refused(files)


def test_more_names_than_classes_can_be_are_refused(tmp_path):
    names = tmp_path / "names"
    names.write_text("".join(f"{i}\n" for i in range(100_000)))
    assert "there are more than 65,536 names" in refused(idx_files(tmp_path, classes=names))


def test_images_that_do_not_fit_in_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "available_memory", lambda **_: 59)
    assert "5 images of 1 x 3 x 4 take 0.0 GB of memory" in refused(idx_files(tmp_path))
    monkeypatch.setattr(sources, "available_memory", lambda **_: 60)
    assert len(read_images(idx_files(tmp_path))[0]) == 5
    monkeypatch.setattr(sources, "available_memory", lambda **_: 190)
    assert "take 0.0 GB of memory" in refused(npz_files(tmp_path))


def test_free_memory_is_less_than_all_there_is():
    assert 1 << 20 < sources.available_memory() < 1 << 50


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{kind: idx, images: a}", "lacks the key 'labels'"),
        ("{kind: cifar, files: []}", "files must be a list of 1 or more"),
        ("{kind: folder, path: a, height: 3}", "width is missing: give height and width"),
        ("{kind: folder, path: a, crop: 0.5}", "fit, crop and resample need height and width"),
        ("{kind: folder, path: a, skip: [corupt]}", "did you mean 'corrupt'?"),
        ("{kind: zip, path: a}", "kind must be 'idx', 'cifar', 'folder' or 'npz', not 'zip'"),
    ],
)
def test_a_recipe_can_describe_files_of_any_kind(text, said):
    with pytest.raises(RecipeError) as error:
        config.loads(Recipe, f"train: {text}", "r.yaml")
    assert said in str(error.value)
    good = "train: {kind: folder, path: a, height: 3, width: 4, skip: [corrupt], classes: [a, b]}"
    assert config.loads(Recipe, good, "r.yaml").train.classes == ("a", "b")
