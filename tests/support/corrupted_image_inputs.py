"""What reads images and weights of others, and ways to harm their files."""

import gzip
import json
import pickle
import random
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from seqtrans.images.data.readers.cifar import CifarFiles
from seqtrans.images.data.readers.folder import FolderFiles
from seqtrans.images.data.readers.idx import IdxFiles
from seqtrans.images.data.readers.npz import NpzFiles
from seqtrans.images.data.readers.read import read_images
from seqtrans.images.models.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from seqtrans.images.models.image_shape import ImageShape
from seqtrans.images.pretrained.load import load_pretrained, weights_for
from tests.support.corruption import spoil_bytes, spoil_text
from tests.support.sandbox import Victim
from tests.support.shape_images import shapes, write_shapes

Chance = random.Random
COUNT = 6


class Touch:
    """What writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def make_idx(folder: Path) -> None:
    images, labels = shapes(COUNT, seed=1)
    (folder / "images").write_bytes(struct.pack(">4I", 0x803, *images.shape) + images.tobytes())
    (folder / "labels").write_bytes(
        struct.pack(">2I", 0x801, COUNT) + labels.astype(np.uint8).tobytes()
    )
    (folder / "names").write_text("square\ncross\ncircle\n")


def spoil_idx(chance: Chance, folder: Path) -> None:
    file = folder / chance.choice(("images", "images", "labels", "names"))
    content = file.read_bytes()
    if chance.random() < 0.3:  # sizes that the content does not have, or has as a bomb
        sizes = [chance.choice((0, 1, 12, 2**16, 2**20, 2**31, 2**32 - 1)) for _ in range(3)]
        content = struct.pack(">4I", 0x803, *sizes) + bytes(chance.choice((0, 10, 1 << 22)))
        file = folder / "images"
    elif file.name == "names" and chance.random() < 0.3:
        content = "".join(f"{i}\n" for i in range(200_000)).encode()
    else:
        content = spoil_bytes(chance, content)
    file.write_bytes(gzip.compress(content) if chance.random() < 0.3 else content)


def use_idx(folder: Path) -> None:
    names = folder / "names"
    read_whole(IdxFiles(images=folder / "images", labels=folder / "labels", classes=names))


def make_cifar(folder: Path) -> None:
    pixels = np.full((COUNT, 3072), 7, dtype=np.uint8)
    rows = np.concatenate([np.arange(COUNT, dtype=np.uint8)[:, None], pixels], axis=1)
    (folder / "binary").write_bytes(rows.tobytes())
    batch = {"labels": list(range(COUNT)), "filenames": ["a", b"b"], "data": pixels}
    for protocol in (2, 3, 4, 5):
        (folder / f"pickle{protocol}").write_bytes(pickle.dumps(batch, protocol=protocol))


def spoil_cifar(chance: Chance, folder: Path) -> None:
    files = sorted(folder.iterdir())
    chosen = chance.choice(files)
    for file in files:
        if file != chosen:
            file.unlink()
    if chance.random() < 0.2:
        harm = {"labels": [1], "data": Touch(folder.parent / "marker")}
        chosen.write_bytes(pickle.dumps(harm, protocol=chance.randint(2, 5)))
    elif chance.random() < 0.2:
        deep = chance.choice((b"(", b"]", b"}", b"](", b"}2", b"]2\x85", b"\x85", b"K\x012"))
        chosen.write_bytes(b"\x80\x02]" + deep * 200_000 + b".")
    else:
        chosen.write_bytes(spoil_bytes(chance, chosen.read_bytes()))


def use_cifar(folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        read_whole(CifarFiles(files=(file,)))


def make_npz(folder: Path) -> None:
    write_shapes(folder / "set.npz", COUNT, seed=1)


def spoil_npz(chance: Chance, folder: Path) -> None:
    file = folder / "set.npz"
    match chance.randrange(5):
        case 0:
            held = np.array([Touch(folder.parent / "marker")] * COUNT, dtype=object)
            np.savez(file, images=held, labels=np.arange(COUNT))
        case 1:
            harmed = spoil_bytes(chance, npy(chance, "<i8", (COUNT,), bytes(8 * COUNT)))
            archive(file, images=harmed, labels=harmed)
        case 2:
            size = [chance.choice((0, 1, 3, 2**20, 2**31, 2**62, -1)) for _ in range(3)]
            kind = chance.choice(("|u1", "<f8", "|O", "|S1000000", "|V2147483647", "<U99999999"))
            images = npy(chance, kind, size, bytes(chance.choice((0, 100, 1 << 24))))
            archive(file, images=images, labels=npy(chance, "<i8", (COUNT,), bytes(8 * COUNT)))
        case _:
            file.write_bytes(spoil_bytes(chance, file.read_bytes()))


def npy(chance: Chance, kind: str, shape: object, content: bytes) -> bytes:
    """An array as NumPy stores it, with any header."""
    held = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    if chance.random() < 0.2:
        held = chance.choice(("(" * 9000, "{" * 300, "1" * 9_000, f"{held}+{held}", "9**9**9"))
    header = held.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", min(len(header), 65535)) + header + content


def archive(file: Path, **members: bytes) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(f"{name}.npy", content)


def use_npz(folder: Path) -> None:
    read_whole(NpzFiles(path=folder / "set.npz"))


def make_folder(folder: Path) -> None:
    from PIL import Image

    images, labels = shapes(COUNT, seed=1)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / f"class {label}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        colored = Image.fromarray(image).convert(("L", "RGB", "P", "RGBA")[i % 4])
        colored.save(path, exif=colored.getexif())
        colored.convert("L").save(path.with_name(f"{i}.jpg"))
        for kind in ("webp", "bmp", "gif", "tif", "ppm"):
            colored.convert(("RGB", "P", "RGBA")[i % 3] if kind in ("gif", "tif") else "RGB").save(
                path.with_name(f"{i}.{kind}")
            )
        deep = Image.fromarray(image.astype(np.uint16) * 257)
        deep.save(path.with_name(f"{i}.tiff"), compression=(None, "tiff_lzw")[i % 2])


def spoil_folder(chance: Chance, folder: Path) -> None:
    file = chance.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    match chance.randrange(5):
        case 0:
            side = chance.choice((60_000, 13_000, 12_000, 9_000))
            file.write_bytes(png(side, chance.choice((side, side, 1)), chance.choice((0, 2, 3))))
        case 1:
            file.write_bytes(
                chance.choice((b"", b"GIF89a", b"%!PS-Adobe", b"BM", b"II*\0", b"<svg"))
            )
        case _:
            file.write_bytes(spoil_bytes(chance, file.read_bytes()))


def png(width: int, height: int, color: int) -> bytes:
    """An empty picture, packed a thousandfold; its checksums are right."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width * {0: 1, 2: 3, 3: 1}[color])
    packed = b"".join(packer.compress(row) for _ in range(min(height, 10_000))) + packer.flush()
    header = struct.pack(">2I5B", width, height, 8, color, 0, 0, 0)
    palette = ((b"PLTE", bytes(768)),) if color == 3 else ()
    chunks = ((b"IHDR", header), *palette, (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def use_folder(folder: Path) -> None:
    read_whole(FolderFiles(path=folder, channels=3, height=8, width=8))


def read_whole(files: object) -> None:
    images, _ = read_images(files)
    assert len(images.images) == len(images.labels)
    assert int(images.labels.max()) < len(images.classes)
    images.images.sum()


def small_network() -> EfficientNetLite:
    return EfficientNetLite(EfficientNetLiteConfig(), ImageShape(3, 224, 224), 3)


def make_weights(folder: Path) -> None:
    torch.manual_seed(0)
    weights = small_network().state_dict()
    few = dict(list(weights.items())[:6])
    (folder / "whole").mkdir()
    save_file(weights, folder / "whole" / "model.safetensors")
    (folder / "whole" / "config.json").write_text(
        json.dumps({"label_names": ["a", "b", "c"], "pretrained_cfg": {"input_size": [3, 9, 9]}})
    )
    torch.save(few, folder / "few.pth")
    torch.save(few, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file(few, folder / "few.safetensors")


def spoil_weights(chance: Chance, folder: Path) -> None:
    chosen = chance.choice(("whole", "few.pth", "old.pt", "few.safetensors"))
    for path in folder.iterdir():
        if path.name != chosen:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    path = folder / chosen
    if path.is_dir():
        path = path / "config.json"
        path.write_bytes(spoil_text(chance, path.read_bytes(), str(folder.parent / "marker")))
    elif path.suffix != ".safetensors" and chance.random() < 0.3:
        touch = {"w": Touch(folder.parent / "marker")}
        torch.save(touch, path, _use_new_zipfile_serialization=path.suffix == ".pth")
    else:
        path.write_bytes(spoil_bytes(chance, path.read_bytes()))


def use_weights(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            load_pretrained(path)
        else:
            with torch.device("meta"):
                network = small_network()
            weights_for(network, path)


IMAGE_VICTIMS = {
    "idx": Victim(make_idx, spoil_idx, use_idx),
    "cifar": Victim(make_cifar, spoil_cifar, use_cifar),
    "npz": Victim(make_npz, spoil_npz, use_npz),
    "folder": Victim(make_folder, spoil_folder, use_folder),
    "weights": Victim(make_weights, spoil_weights, use_weights),
}
