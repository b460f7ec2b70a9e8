"""A cache of encoded corpora, by the content of all that they are made from."""

import errno
import fcntl
import hashlib
import json
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from seqtrans.errors import DataError
from seqtrans.runtime.files.atomic_files import sync_folder
from seqtrans.translation.data.corpus_files import FORMAT, check_corpus, encode_corpus
from seqtrans.translation.data.formats.base import CorpusFiles
from seqtrans.translation.data.length_filter import FilterConfig
from seqtrans.translation.data.parallel_corpus import read_pairs
from seqtrans.translation.tokenization.segmenters import Segmenters, fingerprint


def fill_cache(
    cache: Path,
    corpora: Sequence[CorpusFiles],
    segmenters: Segmenters,
    limits: FilterConfig | None,
    *,
    keep_text: bool,
) -> str:
    """Encode the sentence pairs of files, unless the cache has them.

    Several processes may call it at once: one builds, the others wait for it. A corpus that was
    not finished, or is damaged, is built again.

    Args:
        cache: Folder of the cache, created if needed; any folder in it may be deleted.
        corpora: Files of sentence pairs.
        segmenters: Text to ids.
        limits: Which pairs to leave out; None keeps all, empty ones too.
        keep_text: Whether to store the text too, so that it can be segmented again.

    Returns:
        Name of the folder in ``cache`` for ``open_corpus``.

    Raises:
        DataError: A file can't be read, no pair is left, or the cache can't be written.
    """
    key = corpus_key(corpora, segmenters, limits, keep_text=keep_text)
    folder = cache / key
    if _is_complete(folder):
        return key
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f".{key}.lock") as is_alone:
            if is_alone:
                for leftover in cache.glob(f".{key}.*.partial"):
                    shutil.rmtree(leftover, ignore_errors=True)
            if not _is_complete(folder):  # else another process was faster
                _build(folder, corpora, segmenters, limits, keep_text=keep_text)
    except OSError as error:
        hint = "free some space, or set" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "set"
        raise DataError(
            f"{cache}: can't store the encoded corpus: {error.strerror or error}; {hint} another "
            "folder as data.cache"
        ) from error
    return key


def corpus_key(
    corpora: Sequence[CorpusFiles],
    segmenters: Segmenters,
    limits: FilterConfig | None,
    *,
    keep_text: bool,
) -> str:
    """Return hexadecimal digits that differ if ``encode_corpus`` would write something else.

    Raises:
        DataError: A file can't be read.
    """
    parts = {
        "format": FORMAT,
        "corpora": [_with_digests(asdict(one)) for one in corpora],
        "segmentation": fingerprint(segmenters),
        "limits": None if limits is None else asdict(limits),
        "keep_text": keep_text,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _with_digests(value: Any) -> Any:
    """Replace paths among plain values by digests of the files."""
    if isinstance(value, dict):
        return {key: _with_digests(v) for key, v in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_with_digests(v) for v in cast("Sequence[Any]", value)]
    return file_digest(value) if isinstance(value, Path) else value


def _build(
    folder: Path,
    corpora: Sequence[CorpusFiles],
    segmenters: Segmenters,
    limits: FilterConfig | None,
    *,
    keep_text: bool,
) -> None:
    """Build a corpus in another folder and rename it; of several builders the first wins."""
    with TemporaryDirectory(
        prefix=f".{folder.name}.",
        suffix=".partial",
        dir=folder.parent,
        ignore_cleanup_errors=True,
    ) as aside:
        built = Path(aside) / "corpus"
        built.mkdir()
        pairs = read_pairs(*corpora)
        report = encode_corpus(pairs, segmenters, limits, keep_text=keep_text, folder=built)
        if not report.kept:
            names = ", ".join(name for one in corpora for name in one.names)
            raise DataError(f"{names}: no pair is left to train on: {report}")
        try:
            built.rename(folder)
        except OSError:
            if _is_complete(folder):  # another process was faster
                return
            folder.rename(Path(aside) / "damaged")
            built.rename(folder)
        sync_folder(folder.parent)


def _is_complete(folder: Path) -> bool:
    try:
        check_corpus(folder)
    except DataError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Generator[bool, None, None]:
    """Lock a file; yield whether the file system can."""
    with path.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True


def file_digest(path: Path) -> str:
    """Return a digest of the content of a file, in hexadecimal; an unchanged file is read once.

    Raises:
        DataError: The file can't be read.
    """
    try:
        stat = path.stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error


@lru_cache(maxsize=1000)
def _digest(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
