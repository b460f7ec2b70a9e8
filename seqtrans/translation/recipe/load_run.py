"""Load a trained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from seqtrans import config
from seqtrans.errors import CheckpointError, RecipeError
from seqtrans.runtime.device import DeviceName, Precision
from seqtrans.training.checkpoints.find import find_checkpoint, stored_recipe_of
from seqtrans.training.checkpoints.format import read_inference_weights
from seqtrans.training.checkpoints.run_directory import open_run
from seqtrans.training.checkpoints.weights import fill
from seqtrans.translation.data.lexicon import FILE, load_lexicon
from seqtrans.translation.inference.translator import Translator
from seqtrans.translation.models.encoder_decoder import EncoderDecoder
from seqtrans.translation.models.ensemble import Combination, Ensemble
from seqtrans.translation.models.output.shortlist import Shortlisted, with_shortlist
from seqtrans.translation.recipe.build import build_model
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.search.config import (
    BeamConfig,
    DecodingConfig,
    SearchConfig,
    ValidationBeamConfig,
    ValidationSearchConfig,
)
from seqtrans.translation.tokenization.segmenters import Segmenters, load_segmenters

Settings = Literal["decoding", "validation"]
"""Which settings of a recipe to search with: ``decoding``, or ``validation.decoding``."""


@dataclass(frozen=True)
class Run:
    """A trained model, ready to translate."""

    recipe: TranslationRecipe
    segmenters: Segmenters
    model: EncoderDecoder | Ensemble  # in evaluation mode, on the CPU
    checkpoint: Path  # of the weights
    vocabulary: Path  # folder of the segmenters, and of the lexicon

    def translator(
        self,
        search: SearchConfig,
        device: DeviceName = "auto",
        precision: Precision = "fp32",
        details: Sequence[str] = (),
    ) -> Translator:
        """Return a translator with a search, with shortlists if it has any; see ``Translator``.

        Raises:
            CheckpointError: The run has no lexicon, or a smaller one.
            RecipeError: The model copies, so it can't have shortlists.
            SeqtransError: There is no such device, precision or detail.
        """
        model = self._model_for(search)
        return Translator(model, self.segmenters, search, device, precision, details)

    def _model_for(self, search: DecodingConfig) -> EncoderDecoder | Ensemble | Shortlisted:
        """Return the model that a search uses: ``model``, or that with shortlists."""
        size = search.shortlist
        if not size:
            return self.model
        lexicon = load_lexicon(self.vocabulary, self.segmenters)
        if size > lexicon.size:
            raise CheckpointError(
                f"{self.vocabulary / FILE}: has {lexicon.size} translations of a token, fewer than "
                f"shortlist ({size}); seqtrans lexicon RUN --top {size} makes a larger one"
            )
        return with_shortlist(self.model, lexicon, size, self.segmenters.target.specials)

    def decoding(
        self, changes: Mapping[str, object], place: str, settings: Settings = "decoding"
    ) -> SearchConfig:
        """Return the recipe's search settings with ``changes``.

        Args:
            changes: Settings of a ``SearchConfig`` by name. If they have another ``kind`` than the
                recipe, only settings of all searches are taken from the recipe.
            place: Where the changes were given, for error messages.
            settings: Which settings of the recipe to use.

        Raises:
            RecipeError: A change has an unknown name or a wrong value, or contradicts the recipe;
                one line for each mistake.
        """
        recipe = self.recipe
        stored = {"decoding": recipe.decoding, "validation": recipe.validation.decoding}
        if settings not in stored:
            names = " or ".join(map(repr, stored))
            raise RecipeError(f"{place}: settings must be {names}, not {settings!r}")
        values = vars(stored[settings])
        if changes.get("kind", values["kind"]) != values["kind"]:
            values = {field.name: values[field.name] for field in fields(DecodingConfig)}
        keys: dict[str, object] = {"decoding": {**values, **changes}}
        if settings == "validation":
            keys = {"validation": keys}
        checked = config.validate(_Settings, config.Document(keys, {(): place}))
        search = (checked.validation if settings == "validation" else checked).decoding
        if search.batch_tokens == "auto":
            inside = "validation." if settings == "validation" else ""
            raise RecipeError(
                f"{place}: {inside}decoding.batch_tokens must be a number here: "
                "auto is for training"
            )
        return search


@dataclass(frozen=True, kw_only=True)
class _Validation:
    decoding: ValidationSearchConfig = field(default_factory=ValidationBeamConfig)


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """Part of a recipe, so that errors name keys such as ``decoding.beam_size``."""

    decoding: SearchConfig = field(default_factory=BeamConfig)
    validation: _Validation = field(default_factory=_Validation)


def load_run(path: Path, checkpoint: str = "best") -> Run:
    """Load the model of a run directory; no file outside the directory is read.

    Args:
        path: The run directory.
        checkpoint: ``best``, ``last``, ``averaged`` or a step; ``best`` is the last before the
            first validation.

    Raises:
        CheckpointError: The run, its vocabulary or the checkpoint is missing or damaged, or the run
            is not one of translation.
        RecipeError: The run's recipe is invalid.
    """
    directory = open_run(path)
    recipe = stored_recipe_of(TranslationRecipe, "translation", directory)
    chosen = find_checkpoint(directory, checkpoint)
    weights = read_inference_weights(chosen)
    segmenters = load_segmenters(directory.vocabulary)
    model = build_model(recipe.model, segmenters)
    fill(model, weights, str(chosen))
    return Run(recipe, segmenters, model.eval(), chosen, directory.vocabulary)


def load_ensemble(
    paths: Sequence[Path], checkpoint: str = "best", combination: Combination = "probabilities"
) -> Run:
    """Load runs whose models translate together, as the recipe of the first says.

    Args:
        paths: Run directories; a single one is loaded as by ``load_run``.
        checkpoint: Which one of every run; see ``load_run``.
        combination: What of the models is averaged.

    Raises:
        CheckpointError: A run can't be loaded, or its vocabulary is not that of the first.
        RecipeError: A run's recipe was altered into something invalid.
    """
    first, *others = runs = [load_run(path, checkpoint) for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        for side, ours, theirs in zip(
            ("source", "target"), first.segmenters, other.segmenters, strict=True
        ):
            if ours.to_bytes() != theirs.to_bytes():
                raise CheckpointError(
                    f"{path} has another {side} vocabulary than {paths[0]}: runs of an ensemble "
                    "need the same; train them with one segmentation (kind: sentencepiece_model)"
                )
    if not others:
        return first
    models = [run.model for run in runs if isinstance(run.model, EncoderDecoder)]
    return replace(first, model=Ensemble(models, combination).eval())
