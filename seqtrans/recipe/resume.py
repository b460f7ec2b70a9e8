"""The recipe of a run that goes on: as it is stored, but for what is said otherwise."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtrans import config
from seqtrans.config.paths import dotted, missing_paths, named_paths
from seqtrans.config.yaml_document import flatten
from seqtrans.errors import RecipeError, quoted
from seqtrans.recipe.load import described
from seqtrans.training.auto_batch_size import store_resolved, with_resolved_sizes_of
from seqtrans.training.checkpoints.run_directory import RunDirectory

if TYPE_CHECKING:
    from seqtrans.recipe.load import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resumption:
    """How a run goes on.

    Attributes:
        recipe: What to train by.
        stored: What the run will keep: ``recipe`` and what it once started from.
        changes: What differs from what it keeps now, in words.
        others: Keys of which the recipe that was given, if it is one, says something else.
    """

    recipe: "Recipe"
    stored: "Recipe"
    changes: tuple[str, ...]
    others: tuple[str, ...]

    def store(self, run: RunDirectory) -> None:
        """Keep what has changed, once it is known that the run can go on so.

        Raises:
            TrainingError: The run directory can't be written.
        """
        if self.changes:  # what was auto may have been measured since
            now = described(config.read(run.recipe), run.path)
            store_resolved(run, with_resolved_sizes_of(self.stored, now))
            logger.info("changed from here on: %s", "; ".join(self.changes))


def resume_recipe(run: RunDirectory, given: Path, settings: Sequence[str]) -> Resumption:
    """Read the stored recipe of a run, changed by ``settings``.

    Data that are no longer where the stored recipe says are those of the recipe that was given,
    if they are there: a run may be moved together with both.

    Args:
        run: What goes on.
        given: The recipe that was given, which may be gone.
        settings: As for ``load_recipe``; their paths are relative to ``given``.

    Raises:
        RecipeError: A recipe or a setting is invalid, or files are missing.
    """
    kept = config.read(run.recipe)
    before = described(kept, run.path)
    has_begun = bool(run.steps())
    outside = given.absolute().parent
    said = _said(given, settings)
    changed = config.override(kept, [*_other_kinds(before, settings), *settings])
    document = config.override(changed, _found(described(changed, run.path, outside), said))
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
        others=_others(said, recipe),
    )


def _other_kinds(before: "Recipe", settings: Sequence[str]) -> Iterator[str]:
    """Settings that take all keys of its old kind from what is of another ``kind`` by ``settings``.

    A stored recipe has every key, also those that nobody wrote and the new kind may not know.
    """
    for setting in settings:
        key, _, kind = setting.partition("=")
        holder, _, last = key.rpartition(".")
        found: Any = before
        for part in holder.split("."):
            is_item = isinstance(found, tuple) and part.isdigit() and int(part) < len(found)
            found = found[int(part)] if is_item else getattr(found, part, None)
        if last == "kind" and getattr(found, "kind", None) not in (None, kind.strip()):
            yield f"{holder}={{kind: {kind}}}"


def _said(given: Path, settings: Sequence[str]) -> "Recipe | None":
    """The recipe that was given; None where it is gone, or is none."""
    try:
        return described(config.override(config.read(given), settings), given.absolute().parent)
    except RecipeError:
        return None


def _found(recipe: "Recipe", said: "Recipe | None") -> list[str]:
    """Settings by which files that are gone are those of another recipe that are there."""
    elsewhere = named_paths(said) if said else {}
    gone = missing_paths(recipe).keys() & elsewhere.keys()
    return [
        f"{dotted(key)}={json.dumps(str(elsewhere[key]))}"
        for key in sorted(gone, key=dotted)
        if elsewhere[key].exists()
    ]


def _refuse_missing(recipe: "Recipe", document: config.Document, run: RunDirectory) -> None:
    """Refuse to go on without data; what a run has a copy of, or does not train by, may be gone."""
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


def _others(said: "Recipe | None", recipe: "Recipe") -> tuple[str, ...]:
    """Keys of which the recipe that was given says something else."""
    if said is None:  # the recipe that was given is gone, or of no use
        return ()
    old, new = flatten(recipe), flatten(with_resolved_sizes_of(said, recipe))
    return tuple(key for key in (old | new) if old.get(key) != new.get(key))
