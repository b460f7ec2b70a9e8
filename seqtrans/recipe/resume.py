"""The recipe of a run that is resumed: the stored one, with changes."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtrans import config
from seqtrans.config.trees import dotted, flatten, flow, missing_paths, named_paths, plain
from seqtrans.errors import RecipeError, quoted
from seqtrans.recipe.load import described
from seqtrans.training.auto_batch_size import store_resolved, with_resolved_sizes_of
from seqtrans.training.checkpoints.run_directory import RunDirectory

if TYPE_CHECKING:
    from seqtrans.recipe.load import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resumption:
    """How a run continues.

    Attributes:
        recipe: What to train by.
        stored: What the run will store: ``recipe``, and what it once started from.
        changes: Messages about the keys whose stored values change.
        others: Keys with other values in the recipe that was given, if that can be read.
    """

    recipe: "Recipe"
    stored: "Recipe"
    changes: tuple[str, ...]
    others: tuple[str, ...]

    def store(self, run: RunDirectory) -> None:
        """Write the changed recipe, once it is known that the run can continue with it.

        Raises:
            TrainingError: The run directory can't be written.
        """
        if self.changes:  # what was auto may have been measured since
            now = described(config.read(run.recipe), run.path)
            store_resolved(run, with_resolved_sizes_of(self.stored, now))
            logger.info("changed from here on: %s", "; ".join(self.changes))


def resume_recipe(run: RunDirectory, given: Path, settings: Sequence[str]) -> Resumption:
    """Read the stored recipe of a run, changed by ``settings``.

    Missing files are replaced by those that the given recipe names, if they exist: a run may be
    moved together with its recipe and data.

    Args:
        run: The run to resume.
        given: The recipe that was given, which may be gone.
        settings: As for ``load_recipe``; their paths are relative to ``given``.

    Raises:
        RecipeError: A recipe or a setting is invalid, or files are missing.
    """
    kept = config.read(run.recipe)
    before = described(kept, run.path)
    has_begun = bool(run.steps())
    outside = given.absolute().parent
    given_recipe = _read_given(given, settings)
    changed = config.override(kept, [*_reset_kinds(before, settings), *settings])
    moved = _moved_files(described(changed, run.path, outside), given_recipe)
    document = config.override(changed, moved)
    recipe = with_resolved_sizes_of(described(document, run.path, outside), before)
    if has_begun and recipe.init_from != before.init_from:
        raise RecipeError(
            f"--set init_from: {run.path} has begun already; begin another run with it"
        )
    _refuse_missing(recipe, document, run)
    return Resumption(
        recipe=replace(recipe, init_from=None) if has_begun else recipe,
        stored=recipe,
        changes=_changes(before, recipe),
        others=_other_keys(given_recipe, recipe),
    )


def _reset_kinds(before: "Recipe", settings: Sequence[str]) -> Iterator[str]:
    """Yield settings that reset what gets another ``kind`` by ``settings`` to what all kinds share.

    A stored recipe has every key, also those that nobody wrote and the new kind may not know.
    """
    for setting in settings:
        key, _, kind = setting.partition("=")
        parent, _, last = key.rpartition(".")
        part: Any = before
        for name in parent.split("."):
            is_item = isinstance(part, tuple) and name.isdigit() and int(name) < len(part)
            part = part[int(name)] if is_item else getattr(part, name, None)
        if last == "kind" and getattr(part, "kind", None) not in (None, kind.strip()):
            shared = "".join(f", {name}: {value}" for name, value in _shared_settings(part))
            yield f"{parent}={{kind: {kind}{shared}}}"


def _shared_settings(part: object) -> Iterator[tuple[str, str]]:
    """Yield the settings of the dataclass from which all kinds inherit, as YAML by name."""
    base = [cls for cls in type(part).__mro__ if is_dataclass(cls)][-1]
    for field in fields(base):
        if field.name != "kind" and base is not type(part):
            yield field.name, flow(plain(getattr(part, field.name)))


def _read_given(given: Path, settings: Sequence[str]) -> "Recipe | None":
    """Read the recipe that was given; return None where it is gone or invalid."""
    try:
        return described(config.override(config.read(given), settings), given.absolute().parent)
    except RecipeError:
        return None


def _moved_files(recipe: "Recipe", given: "Recipe | None") -> list[str]:
    """Return settings that replace missing files by those that the given recipe names."""
    elsewhere = named_paths(given) if given else {}
    gone = missing_paths(recipe).keys() & elsewhere.keys()
    return [
        f"{dotted(key)}={json.dumps(str(elsewhere[key]))}"
        for key in sorted(gone, key=dotted)
        if elsewhere[key].exists()
    ]


def _refuse_missing(recipe: "Recipe", document: config.Document, run: RunDirectory) -> None:
    """Raise an error for missing files, but for those of which the run has copies, or no need."""
    idle = [("data", "test")]
    idle += [("init_from",)] if run.steps() else []
    idle += [("data", "segmentation")] if any(run.vocabulary.glob("*.yaml")) else []
    problems = [
        f"{document.place(key)}: {dotted(key)}: there is no such file: {quoted(file)}"
        + ("" if document.is_override(key) else f"; if it was moved, add --set {dotted(key)}=PATH")
        for key, file in missing_paths(recipe).items()
        if not any(key[: len(start)] == start for start in idle)
    ]
    if problems:
        raise RecipeError("\n".join(problems))


def _changes(before: "Recipe", recipe: "Recipe") -> tuple[str, ...]:
    old, new = flatten(before), flatten(recipe)
    keys = [key for key in (old | new) if old.get(key) != new.get(key)]
    return tuple(f"{k} {new.get(k, 'gone')}, was {old.get(k, 'absent')}" for k in keys)


def _other_keys(given: "Recipe | None", recipe: "Recipe") -> tuple[str, ...]:
    """Return the keys with other values in the given recipe."""
    if given is None:
        return ()
    old, new = flatten(recipe), flatten(with_resolved_sizes_of(given, recipe))
    return tuple(key for key in (old | new) if old.get(key) != new.get(key))
