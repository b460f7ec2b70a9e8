"""Reading recipes, of any task, from their files."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from seqtrans import config
from seqtrans.errors import RecipeError, quoted, suggestion
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.translation.recipe.schema import TranslationRecipe

T = TypeVar("T")
Recipe = TranslationRecipe | ClassificationRecipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
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
        for key, file in missing_files(recipe).items()
    ]
    problems += [
        f"{document.place(key)}: {dotted(key)}: {file}: {reason}"
        for key, file in _paths(recipe, ())
        if (reason := _unkept(file))
    ]
    if problems:
        raise RecipeError("\n".join(problems))
    return recipe


def _unkept(file: Path) -> str:
    """Why the stored recipe of a run, which is UTF-8, can't name a file; nothing if it can."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        try:
            os.fsencode(file).decode()
        except UnicodeError:
            return "the name is not UTF-8, as a recipe must be: rename it"
        return "a run can't keep this name in a locale that is not UTF-8: set PYTHONUTF8=1"
    return ""


def described(document: config.Document, folder: Path, outside: Path | None = None) -> Recipe:
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

    return _with_absolute_paths(_validate(document), base, ())


def paths_of(recipe: Recipe) -> dict[config.PathKey, Path]:
    """Return the files and folders that a recipe names, by their keys, but for the cache."""
    return {key: file for key, file in _paths(recipe, ()) if key[-1] != "cache"}


def missing_files(recipe: Recipe) -> dict[config.PathKey, Path]:
    """Return those of ``paths_of`` that are not there.

    Raises:
        UnicodeEncodeError: The locale can't name one.
    """
    return {
        key: file
        for key, file in paths_of(recipe).items()
        if not os.path.exists(os.fsencode(file))  # noqa: PTH110 - too long is no error
    }


def dotted(key: config.PathKey) -> str:
    """Return a key as ``--set`` takes it: ``data.train.0.source``."""
    return ".".join(map(str, key))


def stored_recipe(run: RunDirectory) -> Recipe:
    """The recipe of a run, whose files may be gone.

    Raises:
        RecipeError: It was altered into something invalid.
    """
    return _validate(config.read(run.recipe))


def _validate(document: config.Document) -> Recipe:
    """The recipe that a document describes; of translation unless it says otherwise."""
    value = document.value
    task = cast("dict[str, Any]", value).get("task") if isinstance(value, dict) else None
    if isinstance(task, str) and task != _task(TranslationRecipe):
        known = {_task(cls): cls for cls in (TranslationRecipe, ClassificationRecipe)}
        if task not in known:
            names = f"{' or '.join(map(repr, known))}, not {task!r}{suggestion(task, known)}"
            raise RecipeError(f"{document.place(('task',))}: task must be {names}")
        return config.validate(ClassificationRecipe, document)
    return config.validate(TranslationRecipe, document)


def _task(cls: type[TranslationRecipe] | type[ClassificationRecipe]) -> str:
    return cls.task


def _paths(value: Any, key: config.PathKey) -> Iterator[tuple[config.PathKey, Path]]:
    """Every path in a tree of dataclasses, and the keys that lead to it."""
    if isinstance(value, Path):
        yield key, value
    elif dataclasses.is_dataclass(value):
        for item in dataclasses.fields(value):
            yield from _paths(getattr(value, item.name), (*key, item.name))
    elif isinstance(value, tuple):
        for i, item in enumerate(cast("tuple[Any, ...]", value)):
            yield from _paths(item, (*key, i))


def _with_absolute_paths(
    value: T, base: Callable[[config.PathKey], Path], key: config.PathKey
) -> T:
    """The same tree of dataclasses, its relative paths taken from the ``base`` of their keys."""
    changed: Any = value
    if isinstance(value, Path):
        home = os.path.expanduser(value)  # noqa: PTH111 - no error where there is no such user
        changed = Path(os.path.abspath(base(key) / home))  # noqa: PTH100 - keeps links
    elif isinstance(value, tuple):
        items = enumerate(cast("tuple[Any, ...]", value))
        changed = tuple(_with_absolute_paths(item, base, (*key, i)) for i, item in items)
    elif dataclasses.is_dataclass(value):
        parts = {
            f.name: _with_absolute_paths(getattr(value, f.name), base, (*key, f.name))
            for f in dataclasses.fields(value)
            if f.init
        }
        changed = dataclasses.replace(cast("Any", value), **parts)
    return changed
