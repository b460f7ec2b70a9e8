"""Recipes of any task: read them, and prepare what they describe."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from seqtrans import config
from seqtrans.config.trees import dotted, missing_paths, paths_in, with_absolute_paths
from seqtrans.config.validation import shown
from seqtrans.errors import RecipeError, quoted, suggestion
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.training.distributed.rendezvous import ALONE, Rendezvous

if TYPE_CHECKING:
    from seqtrans.images.recipe.schema import ClassificationRecipe
    from seqtrans.training.prepare import Prepared
    from seqtrans.translation.recipe.schema import TranslationRecipe

    Recipe: TypeAlias = TranslationRecipe | ClassificationRecipe

TASKS = ("translation", "classification")


def recipe_class(
    task: Literal["translation", "classification"],
) -> "type[TranslationRecipe] | type[ClassificationRecipe]":
    """Return the dataclass of the recipes of a task."""
    if task == "translation":
        from seqtrans.translation.recipe.schema import TranslationRecipe

        return TranslationRecipe
    from seqtrans.images.recipe.schema import ClassificationRecipe

    return ClassificationRecipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> "Recipe":
    """Read a recipe, make its paths absolute, and see that its files exist.

    Args:
        path: A YAML file.
        overrides: Settings such as ``training.seed=2`` that replace those of the file.

    Raises:
        RecipeError: The file can't be read, does not describe a run, or names files that are
            missing; one line for each mistake.
    """
    document = config.override(config.read(path), overrides)
    recipe = described(document, path.absolute().parent)
    problems = [
        f"{document.place(key)}: {dotted(key)}: there is no such file: {quoted(file)}"
        for key, file in missing_paths(recipe).items()
    ]
    problems += [
        f"{document.place(key)}: {dotted(key)}: {file}: {reason}"
        for key, file in paths_in(recipe)
        if (reason := _name_problem(file))
    ]
    if problems:
        raise RecipeError("\n".join(problems))
    return recipe


def _name_problem(file: Path) -> str:
    """Return why a stored recipe, which is UTF-8, can't name a file; an empty string if it can."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        try:
            os.fsencode(file).decode()
        except UnicodeError:
            return "the name is not UTF-8, as a recipe must be: rename it"
        return "a run can't keep this name in a locale that is not UTF-8: set PYTHONUTF8=1"
    return ""


def described(document: config.Document, folder: Path, outside: Path | None = None) -> "Recipe":
    """Return the recipe that a document describes, its paths absolute; their files may be missing.

    Args:
        document: Of translation unless it says otherwise.
        folder: What relative paths start from.
        outside: The same for those that were set by an override; None: as well ``folder``.

    Raises:
        RecipeError: It describes none; one line for each mistake.
    """

    def base(key: config.PathKey) -> Path:
        return outside if outside and document.is_override(key) else folder

    return with_absolute_paths(_validate(document), base)


def stored_recipe(run: RunDirectory) -> "Recipe":
    """Read the recipe of a run, whose files may be gone.

    Raises:
        RecipeError: It was altered into something invalid.
    """
    return _validate(config.read(run.recipe))


def files_to_keep(recipe: "Recipe", folder: Path) -> dict[str, bytes]:
    """Return the files of code that a run keeps copies of, by their names in it.

    Args:
        recipe: Of the run.
        folder: Where they lie, beside the recipe.
    """
    if recipe.task == "translation":
        return {}
    from seqtrans.images.recipe.build import builder_files

    return builder_files(recipe, folder)


def prepare(recipe: "Recipe", run: RunDirectory, processes: Rendezvous = ALONE) -> "Prepared":
    """Make or load everything that a recipe describes.

    Of several processes the first makes what a run keeps of its data, and logs for all. They form
    a group once each has its data, however long that takes one of them.

    Args:
        recipe: The recipe.
        run: The run directory.
        processes: This process and those that train with it.

    Raises:
        SeqtransError: Anything that the user can mend.
    """
    from seqtrans.training.reporting.loggers import log_errors_only

    processes.patience = recipe.training.processes.timeout_seconds
    with nullcontext() if processes.rank == 0 else log_errors_only():
        if recipe.task == "translation":
            from seqtrans.translation.recipe import prepare as translation

            return translation.prepare(recipe, run, processes)
        from seqtrans.images.recipe import prepare as images

        return images.prepare(recipe, run, processes)


def _validate(document: config.Document) -> "Recipe":
    """Return the recipe that a document describes; without a task, it is of translation."""
    task = document.get("task", "translation")
    if task not in TASKS:
        near = suggestion(task, TASKS) if isinstance(task, str) else ""
        names = f"{' or '.join(map(repr, TASKS))}, not {shown(task)}{near}"
        raise RecipeError(f"{document.place(('task',))}: task must be {names}")
    return config.validate(recipe_class(task), document)
