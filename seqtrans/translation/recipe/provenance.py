"""The settings and files on which a translation run depends."""

from collections.abc import Sequence

from seqtrans.config.trees import flatten, flow, paths_in
from seqtrans.training.checkpoints.provenance import DATA, Origins, model_settings
from seqtrans.translation.data.cache import file_digest
from seqtrans.translation.data.formats.base import CorpusFiles
from seqtrans.translation.recipe.schema import TranslationRecipe


def origins_of(recipe: TranslationRecipe) -> Origins:
    """Return the settings of a run, and digests of its files, by what depends on them.

    Raises:
        DataError: A file can't be read.
    """
    data, validation = recipe.data, flatten(recipe.validation, "validation")
    cut = flatten(data.segmentation, "data.segmentation")
    sampling = {key: value for key, value in cut.items() if ".sampling" in key}
    files = {"data.segmentation.model", "data.segmentation.target_model"}  # the run has copies
    may_change = ("validation.metrics", "validation.decoding.batch_tokens")
    return Origins(
        kept={
            **_of_text(data.train, DATA),
            **{key: value for key, value in cut.items() if key not in sampling.keys() | files},
            **model_settings(recipe.model),
        },
        measured={
            **_of_text(data.validation, "data.validation"),
            **{key: value for key, value in validation.items() if not key.startswith(may_change)},
        },
        order={
            "training.seed": flow(recipe.training.seed),
            "data.batch_tokens": flow(data.batch_tokens),
            "data.both_directions_epochs": flow(data.both_directions_epochs),
            **flatten(data.filter, "data.filter"),
            **sampling,
        },
    )


def _of_text(corpora: Sequence[CorpusFiles], key: str) -> dict[str, str]:
    described = {key: f"{len(corpora)} corpora"}
    for i, one in enumerate(corpora):
        digests = {".".join(map(str, at)): file_digest(path) for at, path in paths_in(one)}
        settings = _as_stored({**flatten(one), **digests})
        described |= {f"{key}.{i}.{name}": value for name, value in settings.items()}
    return described


def _as_stored(settings: dict[str, str]) -> dict[str, str]:
    """Convert the settings of a corpus to the form of older checkpoints."""
    others = dict.fromkeys(("columns", "source", "target", "tsv"), "null")
    if settings["kind"] not in ("text", "tsv"):
        return {**others, **settings}
    columns = (settings.pop("source_column", "1"), settings.pop("target_column", "2"))
    return {**others, "columns": ", ".join(columns), **settings}
