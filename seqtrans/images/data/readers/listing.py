"""List the image files of a folder; other files are counted and named."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seqtrans.errors import DataError, escaped

SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)
OLD_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
"""What runs read that were begun by version 0.1 and before, and nothing in folders within."""
_SYSTEM = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"})
"""What systems leave in folders of images, in small letters; also all that begins with a dot."""
_EXAMPLES = 3


@dataclass
class Listing:
    """The content of a folder.

    Attributes:
        images: Files to be read as images: first those of the folder, then those of each folder
            within, all sorted by name.
        others: Files and folders that are left out, by kind: an extension, or words.
        hidden: How many hidden files, and files of the system, were passed over.
    """

    images: list[Path] = field(default_factory=list[Path])
    others: dict[str, list[Path]] = field(default_factory=dict[str, list[Path]])
    hidden: int = 0

    def __str__(self) -> str:
        """Describe the skipped files: their number by kind, and some names."""
        return ", ".join(
            f"{len(paths):,} {kind} ({shown([path.name for path in paths], _EXAMPLES)})"
            for kind, paths in sorted(self.others.items())
        )

    def leave_out(self, kind: str, path: Path) -> None:
        """Record a file or folder that is skipped."""
        self.others.setdefault(kind, []).append(path)


def list_images(folder: Path, *, old: bool = False) -> Listing:
    """Find the images of a folder and of all folders within, whose links are followed once.

    A file is one by the ending of its name, or by its first bytes.

    Args:
        folder: Where to look.
        old: Find only what ``OLD_SUFFIXES`` says.

    Raises:
        DataError: A folder can't be read.
    """
    listing = Listing()
    waiting, seen = [folder], {os.path.realpath(folder)}
    while waiting:
        inside: list[Path] = []
        for path in entries(waiting.pop(), listing):
            if not path.is_dir():
                _sort_in(path, listing, old=old)
            elif old:
                listing.leave_out("subfolders", path)
            elif (real := os.path.realpath(path)) in seen:
                listing.leave_out("links to folders already read", path)
            else:
                seen.add(real)
                inside.append(path)
        waiting += reversed(inside)
    return listing


def entries(folder: Path, listing: Listing | None = None) -> list[Path]:
    """Return the sorted entries of a folder; hidden ones are only counted, in ``found``.

    Raises:
        DataError: The folder can't be read.
    """
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no such folder") from error
    except NotADirectoryError as error:
        raise DataError(f"{folder}: is a file, not a folder of class folders") from error
    except OSError as error:
        raise DataError(f"{folder}: can't be read: {error.strerror or error}") from error
    visible = [path for path in paths if not _is_hidden(path.name)]
    if listing is not None:
        listing.hidden += len(paths) - len(visible)
    return visible


def shown(names: Sequence[str], limit: int) -> str:
    """Return some names and the number of others, as text that any file can hold."""
    text = ", ".join(printable(name) for name in names[:limit])
    return text + (f" and {len(names) - limit:,} more" if len(names) > limit else "")


def printable(name: object) -> str:
    """Return a file's name in one line, with invalid UTF-8 and invisible characters escaped."""
    try:
        text = os.fsencode(str(name)).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a name of no file, in a locale that can't write it
        text = str(name).encode("utf-8", "backslashreplace").decode()
    return escaped(text)


def kind_of(path: Path) -> str:
    """Describe a skipped file: its extension, or why it can't be read."""
    if path.is_file():
        return printable(path.suffix.lower()) or "without extension"
    if path.is_dir():
        return "folders"
    return "broken links" if path.is_symlink() else "not regular files"


def _sort_in(path: Path, listing: Listing, *, old: bool) -> None:
    suffixes = OLD_SUFFIXES if old else SUFFIXES
    if path.is_file() and (
        path.suffix.lower() in suffixes or (not old and _has_image_signature(path))
    ):
        listing.images.append(path)
    else:
        listing.leave_out(kind_of(path), path)


def _has_image_signature(path: Path) -> bool:
    """Return whether a file begins as PNG, JPEG, GIF or WebP; other magic bytes are ambiguous."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return False  # it is named among the others
    return start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")) or (
        start[:4] == b"RIFF" and start[8:] == b"WEBP"
    )


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM
