"""Copy of a run with what is needed to use its model, and nothing else."""

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from seqtrans.errors import ExportError
from seqtrans.recipe.load import files_to_keep, stored_recipe
from seqtrans.runtime.files.atomic_files import sync_folder, write_atomically
from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.checkpoints.find import find_checkpoint
from seqtrans.training.checkpoints.run_directory import RunDirectory, open_run

if TYPE_CHECKING:
    from seqtrans.recipe.load import Recipe

logger = logging.getLogger(__name__)


def ship_run(path: Path, output: Path, name: str = "best") -> None:
    """Write a run directory that translates or classifies as ``path`` does, bit for bit.

    It holds the recipe, the vocabulary or what is known of the images, the Python file of a Keras
    model, and one checkpoint: of its tensors the moving average where one was kept, else the
    model's. It can be scored, evaluated, exported, and be what another run starts from; training
    can't go on with it.

    Args:
        path: The run directory, of any task.
        output: Path of the copy; it appears complete or not at all.
        name: Which checkpoint; see ``load_run``.

    Raises:
        CheckpointError: The run or the checkpoint is missing or damaged.
        ExportError: Something is at ``output`` already, or it can't be written.
        RecipeError: The run's recipe was altered into something invalid.
    """
    run = open_run(path)
    if output.exists() or output.is_symlink():
        raise ExportError(f"{output} exists already: choose another, or delete it")
    recipe = stored_recipe(run)
    others = files_to_keep(recipe, path)
    _find_damage(recipe, path, name)
    partial_copy = output.with_name(f".{output.name}.{uuid4().hex}.partial")
    try:
        try:
            _write(run, find_checkpoint(run, name), others, RunDirectory(partial_copy))
            partial_copy.rename(output)
            sync_folder(output.parent)
        finally:
            shutil.rmtree(partial_copy, ignore_errors=True)
    except OSError as error:
        raise ExportError(f"{output} can't be written: {error.strerror or error}") from error
    logger.info(
        "%s: checkpoint %s without what only training needs; %.1f MB of the run's %.1f MB",
        output,
        find_checkpoint(run, name).name,
        _megabytes(output),
        _megabytes(path),
    )


def _find_damage(recipe: "Recipe", path: Path, name: str) -> None:
    """Load a run as its users will, to find damage."""
    if recipe.task == "translation":
        from seqtrans.translation.recipe.load_run import load_run

        load_run(path, name)
    else:
        from seqtrans.images.recipe.build import load_classifier

        load_classifier(path, name)


def _write(run: RunDirectory, chosen: Path, others: dict[str, bytes], copy: RunDirectory) -> None:
    copy.path.mkdir()
    copy.checkpoints.mkdir()
    copy.vocabulary.mkdir()
    plain, stem = checkpoint.read_used(chosen)
    writers = {name: partial(_copy, chosen / name) for name in checkpoint.other_files(chosen)}
    writers[f"{checkpoint.MODEL}.safetensors"] = partial(_copy, chosen / f"{stem}.safetensors")
    checkpoint.write(copy.checkpoints / chosen.name, plain, {}, writers)
    for pointer in ("best", "last"):
        copy.point(pointer, chosen.name)
    for file in filter(Path.is_file, run.vocabulary.iterdir()):
        write_atomically(copy.vocabulary / file.name, file.read_bytes())
    for name, content in others.items():
        write_atomically(copy.path / name, content)
    write_atomically(copy.recipe, run.recipe.read_bytes())


def _copy(origin: Path, file: Path) -> None:
    shutil.copyfile(origin, file)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
