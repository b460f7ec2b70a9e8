"""One checkpoint: a folder of safetensors and one YAML file; nothing is ever unpickled.

``state.yaml`` is written last and holds the size and checksum of every other file, and of
itself, so that whatever was cut short or altered is noticed and named.
"""

import functools
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file

from seqtrans import config
from seqtrans.errors import CheckpointError, RecipeError
from seqtrans.runtime.files.atomic_files import sync_file, sync_folder, write_atomically
from seqtrans.runtime.out_of_memory import is_out_of_memory
from seqtrans.tensor_types import Tensor
from seqtrans.training.checkpoints.state_schema import check_values

FORMAT = 1
STATE = "state.yaml"
MODEL, AVERAGE, OPTIMIZER = "model", "ema", "optimizer"  # stems of the tensor files
PARTIAL = ".partial"
_SEAL = "checksum: "

Writers = Mapping[str, Callable[[Path], None]]


class OtherFormatError(CheckpointError):
    """A checkpoint is undamaged, but of a format that this version can't read."""


def write(
    path: Path,
    state: Mapping[str, Any],
    tensors: Mapping[str, dict[str, Tensor]],
    others: Writers | None = None,
) -> None:
    """Write a checkpoint that appears complete or not at all, replacing one of the same name.

    Args:
        path: Folder to make.
        state: Plain values to keep in ``state.yaml``.
        tensors: By stem of the file, tensors by name.
        others: By name of one more file, what writes it.

    Raises:
        OSError: The disk is full, or the folder can't be written. Nothing has changed then.
    """
    partial = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()  # without its parents, which may have vanished: a part of a run is none
    try:
        files: dict[str, Callable[[Path], None]] = {
            f"{stem}.safetensors": functools.partial(_write_tensors, named)
            for stem, named in tensors.items()
        } | dict(others or {})
        for name, write_file in files.items():
            write_file(partial / name)
            sync_file(partial / name)
        seals = {name: _seal(partial / name) for name in files}
        write_atomically(partial / STATE, _sealed({"format": FORMAT, **state, "files": seals}))
        if path.exists():
            remove(path)
        partial.rename(path)
        sync_folder(path.parent)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def remove(path: Path) -> None:
    """Delete a checkpoint so that it is never seen half deleted."""
    removed = path.with_name(f".{path.name}.removed{PARTIAL}")
    shutil.rmtree(removed, ignore_errors=True)
    path.rename(removed)
    shutil.rmtree(removed)


def rewrite_state(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the plain values of a checkpoint and leave its tensors."""
    body = _read_body(path / STATE).value
    write_atomically(path / STATE, _sealed({"format": FORMAT, **state, "files": body["files"]}))


def read_state(path: Path, *, check_files: bool = True) -> dict[str, Any]:
    """Return the plain values of a checkpoint, without ``format`` and ``files``.

    Args:
        path: Folder of the checkpoint.
        check_files: Whether to check the checksums of all files.

    Raises:
        CheckpointError: There is no checkpoint, or a file is not as it was written.
        OtherFormatError: Another version of seqtrans wrote it.
    """
    body, seals = _read_sealed(path)
    if check_files:
        _check_all(path, seals)
    return body


def read_used(path: Path) -> tuple[dict[str, Any], str]:
    """Return the plain values of a checkpoint, and the stem of the weights to use it with.

    These are the moving average if one was kept. Their checksum is checked; files that only
    training needs may be missing.

    Raises:
        CheckpointError: As ``read_state``.
    """
    body, seals = _read_sealed(path)
    stem = AVERAGE if f"{AVERAGE}.safetensors" in seals else MODEL
    name = f"{stem}.safetensors"
    if name not in seals:
        raise CheckpointError(f"{path / STATE} was altered: it names no {name}")
    _check(path / name, seals[name])
    return body, stem


def other_files(path: Path) -> list[str]:
    """Return the names of the files with the weights in other formats; checksums are checked.

    Raises:
        CheckpointError: As ``read_state``.
    """
    ours = {f"{stem}.safetensors" for stem in (MODEL, AVERAGE, OPTIMIZER)}
    seals = _read_sealed(path)[1]
    others = [name for name in seals if name not in ours and name == Path(name).name]
    there = [name for name in others if (path / name).exists()]
    for name in there:
        _check(path / name, seals[name])
    return there


def _read_sealed(path: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return the plain values of a checkpoint, and size and checksum of each of its files."""
    document = _read_body(path / STATE)
    body = cast("dict[str, Any]", document.value)
    if (stored := body.pop("format", None)) != FORMAT:
        raise OtherFormatError(f"{path / STATE} has format {stored}; this version reads {FORMAT}")
    check_values(document)
    return body, body.pop("files")


def read_training(path: Path, *, check_files: bool = True) -> dict[str, Any]:
    """Return the plain values of a checkpoint that training can resume from; see ``read_state``.

    Raises:
        CheckpointError: As ``read_state``; or values or the optimizer's tensors are missing, as in
            a shipped run.
    """
    plain, seals = _read_sealed(path)
    if check_files:
        _check_resumable(path, seals)
        _check_all(path, seals)
    if missing := [name for name in ("state", "metrics", "optimizer") if name not in plain]:
        raise CheckpointError(f"{path / STATE} was altered: it lacks '{missing[0]}'")
    return plain


def _check_all(path: Path, seals: Mapping[str, Any]) -> None:
    for name, seal in seals.items():
        _check(path / name, seal)


def _check_resumable(path: Path, seals: Mapping[str, Any]) -> None:
    name = f"{OPTIMIZER}.safetensors"
    if name not in seals or not (path / name).is_file():
        raise CheckpointError(
            f"{path / name} is missing: training can't go on without the optimizer's state; "
            "the model can be used, and a new run can start from it by init_from"
        )


def read_tensors(path: Path, stem: str) -> dict[str, Tensor]:
    """Return the tensors of one file of a checkpoint, by name, on the CPU.

    Raises:
        CheckpointError: The file is missing or damaged, or memory can't hold it.
    """
    file = path / f"{stem}.safetensors"
    try:
        return _load(file)
    except (OSError, MemoryError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        raise CheckpointError(f"{file} can't be read: {_first_line(error)}") from error


def read_inference_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights to translate with: the moving average if one was kept.

    Raises:
        CheckpointError: As ``read_state``.
    """
    return read_tensors(path, read_used(path)[1])


def _load(file: Path) -> dict[str, Tensor]:
    try:
        str(file).encode()
    except UnicodeEncodeError:  # safetensors maps no file whose name is not UTF-8
        return load(file.read_bytes())
    return load_file(file)


def _write_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    except SafetensorError as error:  # how safetensors reports errors of the system
        raise OSError(str(error)) from error


def _seal(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def _check(file: Path, seal: Mapping[str, Any]) -> None:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing")
    if (size := file.stat().st_size) != seal["bytes"]:
        raise CheckpointError(f"{file} has {size} bytes, not {seal['bytes']}: it is incomplete")
    if _seal(file) != seal:
        raise CheckpointError(f"{file} was altered: its checksum is not the recorded one")


def _sealed(body: Mapping[str, Any]) -> str:
    text = config.dump(dict(body))
    return f"{text}{_SEAL}{_digest(text)}\n"


def _read_body(file: Path) -> config.Document:
    try:
        text, _, seal = file.read_bytes().decode().rpartition(_SEAL)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} can't be read: {_first_line(error)}") from error
    if seal != f"{_digest(text)}\n":
        raise CheckpointError(f"{file} was altered: its checksum is not the recorded one")
    try:
        document = config.parse(text, str(file))
    except RecipeError as error:
        raise CheckpointError(_first_line(error)) from error
    body = document.value
    if not isinstance(body, dict) or not isinstance(cast("Any", body).get("files"), dict):
        raise CheckpointError(f"{file} was altered: it names no files")
    return document


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0]
