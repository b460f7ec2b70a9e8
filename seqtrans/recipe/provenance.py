"""What a run keeps when it goes on, and what its results and batches depend on."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seqtrans.config.yaml_document import flow, plain
from seqtrans.errors import CheckpointError
from seqtrans.images.data.dataset import ImageSet
from seqtrans.images.recipe.load_data import ImageSets
from seqtrans.images.recipe.schema import ClassificationRecipe
from seqtrans.training.checkpoints import format as checkpoint
from seqtrans.training.checkpoints.provenance import Origins, differing
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.translation.data.cache import file_digest
from seqtrans.translation.data.parallel_corpus import CorpusFiles
from seqtrans.translation.recipe.schema import TranslationRecipe

_DATA = "data.train"
_CHOICE = ("data.limit", "data.validation.fraction")  # of which images are learnt from
_HASHED_IMAGES = 1024  # at a time


def translation_origins(recipe: TranslationRecipe) -> Origins:
    """Return what a translation run depends on.

    Raises:
        DataError: A file of text can't be read.
    """
    data, validation = recipe.data, flatten(recipe.validation, "validation")
    cut = flatten(data.segmentation, "data.segmentation")
    sampling = {key: value for key, value in cut.items() if ".sampling" in key}
    files = {"data.segmentation.model", "data.segmentation.target_model"}  # the run has copies
    unjudged = ("validation.metrics", "validation.decoding.batch_tokens")
    return Origins(
        kept={
            **_of_text(data.train, _DATA),
            **{key: value for key, value in cut.items() if key not in sampling.keys() | files},
            **_of_model(recipe.model),
        },
        measured={
            **_of_text(data.validation, "data.validation"),
            **{key: value for key, value in validation.items() if not key.startswith(unjudged)},
        },
        order={
            "training.seed": flow(recipe.training.seed),
            "data.batch_tokens": flow(data.batch_tokens),
            **flatten(data.filter, "data.filter"),
            **sampling,
        },
    )


def classification_origins(recipe: ClassificationRecipe, sets: ImageSets) -> Origins:
    """Return what a run of an image classifier depends on."""
    fraction = getattr(recipe.data.validation, "fraction", None)
    return Origins(
        kept={
            _DATA: _of_images(sets.train),
            **dict(zip(_CHOICE, map(flow, (recipe.data.limit, fraction)), strict=True)),
            **flatten(recipe.data.normalisation, "data.normalisation"),
            **_of_model(recipe.model),
        },
        measured={
            "data.validation": _of_images(sets.validation),
            **flatten(recipe.data.resize, "data.resize"),
        },
        order=classification_order(recipe),
    )


def classification_order(recipe: ClassificationRecipe) -> dict[str, str]:
    """Return what the micro-batches of an epoch of a run of an image classifier depend on."""
    return {
        "training.seed": flow(recipe.training.seed),
        "data.batch_size": flow(recipe.data.batch_size),
    }


def refuse_changes(run: RunDirectory, origins: Origins, files: Mapping[str, object]) -> None:
    """Refuse to go on with other data to learn from, or as another model.

    Args:
        run: What goes on; it may be new.
        origins: Of what is to go on.
        files: Names of files, by their keys in the recipe.

    Raises:
        CheckpointError: They differ from those of the newest checkpoint.
    """
    before = _kept_by(run)
    changed = _told(differing(before, origins.kept))
    if not changed:
        return
    again = f"or begin another run with init_from: {run.path}"
    if data := [key for key in changed if key.startswith(_DATA)]:
        named = " and ".join(dict.fromkeys(str(files.get(key, key)) for key in data))
        raise CheckpointError(
            f"{data[0]}: {named}: not what {run.path} learnt from until now: put that back, {again}"
        )
    more = f" (and {len(changed) - 1} other settings)" if changed[1:] else ""
    raise CheckpointError(
        f"{changed[0]} is {origins.kept[changed[0]]}, but the run was trained with "
        f"{before[changed[0]]}{more}: set it back, {again}"
    )


def _told(changed: list[str]) -> list[str]:
    """What to say of keys that differ: where images do, which of them were chosen otherwise."""
    choice = [key for key in changed if key in _CHOICE]
    if _DATA in changed and choice:
        return choice
    return [key for key in changed if key not in choice]


def flatten(value: object, key: str = "") -> dict[str, str]:
    """Return the values of dataclasses, mappings and lists as text, by dotted key."""
    return dict(_flat(plain(value), key))


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inside in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _flat(inside, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, list) and value:
        for number, inside in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from _flat(inside, f"{key}.{number}")
    else:
        yield key, flow(value)


def _kept_by(run: RunDirectory) -> Mapping[str, str]:
    for step in reversed(run.steps()):
        try:
            return checkpoint.read_state(run.at(step), check_files=False).get("kept", {})
        except CheckpointError:
            continue
    return {}


def _of_model(model: object) -> dict[str, str]:
    """Settings of a model but for those of dropout, which may change while it learns."""
    found = flatten(model, "model")
    return {key: value for key, value in found.items() if "drop" not in key.rpartition(".")[2]}


def _of_text(corpora: Sequence[CorpusFiles], key: str) -> dict[str, str]:
    columns = {
        f"{key}.{i}.columns": f"{one.source_column}, {one.target_column}"
        for i, one in enumerate(corpora)
    }
    digests = {
        f"{key}.{i}.{name}": file_digest(path)
        for i, one in enumerate(corpora)
        for name in ("source", "target", "tsv")
        if (path := getattr(one, name)) is not None
    }
    return {key: f"{len(corpora)} corpora", **columns, **digests}


def _of_images(images: ImageSet) -> str:
    digest = hashlib.sha256(repr((images.classes, tuple(images.images.shape))).encode())
    for part in images.images.split(_HASHED_IMAGES):
        digest.update(part.contiguous().numpy().tobytes())
    digest.update(images.labels.numpy().tobytes())
    return digest.hexdigest()
