"""Search of the settings of decoding that give the best validation scores of a trained run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from seqtrans import config
from seqtrans.errors import RecipeError, TrainingError
from seqtrans.runtime.device import DeviceName, Precision
from seqtrans.runtime.files.atomic_files import write_atomically
from seqtrans.training.checkpoints.find import find_checkpoint, stored_recipe_of
from seqtrans.training.checkpoints.run_directory import AVERAGED, RunDirectory, open_run
from seqtrans.training.checkpoints.store import CheckpointStore
from seqtrans.translation.data.parallel_corpus import read_pairs
from seqtrans.translation.evaluation.metrics import Measure, corpus_scores
from seqtrans.translation.inference.line_windows import BLOCK_LINES, fixed_windows
from seqtrans.translation.inference.translator import window_characters
from seqtrans.translation.recipe.load_run import Run, load_run
from seqtrans.translation.recipe.schema import TranslationRecipe
from seqtrans.translation.search.beam import BeamSearch
from seqtrans.translation.search.config import BeamConfig
from seqtrans.translation.search.length_penalties import with_penalties

Goal = Literal["bleu", "chrf"]
BEAM_SIZES = (1, 2, 3, 5, 8, 12)
LENGTH_PENALTIES = (0.0, 0.3, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0)


class Trial(NamedTuple):
    """Settings, and the scores of the validation corpus with them."""

    checkpoint: str  # name of its folder
    beam_size: int
    length_penalty: float
    bleu: float
    chrf: float


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What to try, besides the settings of the run.

    Attributes:
        checkpoints: Names as in ``load_run``; none: the best, the last and the averaged one.
        beam_sizes: Beam sizes.
        length_penalties: Length penalties, at least 0.
    """

    checkpoints: Sequence[str] = ()
    beam_sizes: Sequence[int] = BEAM_SIZES
    length_penalties: Sequence[float] = LENGTH_PENALTIES


class Tuner:
    """Tries settings of beam search on the validation corpus of a run.

    One setting is chosen after the other: first the checkpoint, with the beam size of the recipe,
    then the beam size. All length penalties are tried with each, as one search finds the
    translations with every penalty.

    Args:
        path: Run directory.
        choices: What to try.
        goal: The metric to maximize.
        device: Where to compute.
        precision: Precision of the model.

    Raises:
        CheckpointError: The run or a checkpoint is missing, or the run is not one of translation.
        DataError: The validation corpus can't be read.
        RecipeError: The recipe of the run is invalid, or does not search with a beam.
    """

    def __init__(
        self,
        path: Path,
        choices: Choices,
        goal: Goal = "bleu",
        device: DeviceName = "auto",
        precision: Precision = "fp32",
    ) -> None:
        self._run, self._goal = open_run(path), goal
        self._device: DeviceName = device
        self._precision: Precision = precision
        recipe = stored_recipe_of(TranslationRecipe, "translation", self._run)
        self._decoding = _beam_of(recipe, self._run)
        files = [list(read_pairs(files)) for files in recipe.data.validation]
        self._sources = [[source for source, _ in pairs] for pairs in files]
        self._references = [target for pairs in files for _, target in pairs]
        self._measure: Measure = replace(recipe.validation.measure, metrics=("bleu", "chrf"))
        named = [find_checkpoint(self._run, name).name for name in choices.checkpoints]
        self._checkpoints = named or _usual_checkpoints(self._run, recipe)
        self._penalties = sorted({*choices.length_penalties, self._decoding.length_penalty})
        # Fewer hypotheses than translations that the recipe wants can't be kept.
        sizes = {size for size in choices.beam_sizes if size >= self._decoding.n_best}
        self._beam_sizes = sorted(sizes - {self._decoding.beam_size})
        self.present = (
            find_checkpoint(self._run, "best").name,
            self._decoding.beam_size,
            self._decoding.length_penalty,
        )
        self.trials: list[Trial] = []

    def run(self) -> Iterator[Trial]:
        """Yield one trial after the other; ``best`` is the best of those so far."""
        for checkpoint in self._checkpoints:
            loaded = load_run(self._run.path, checkpoint)
            yield from self._sweep(loaded, self._decoding.beam_size)
        chosen = load_run(self._run.path, self.best.checkpoint)
        for size in self._beam_sizes:
            yield from self._sweep(chosen, size)

    @property
    def best(self) -> Trial:
        """The best trial; of equal ones that with the smaller beam, then the present settings."""
        order = sorted(self.trials, key=lambda trial: (trial.beam_size, trial[:3] != self.present))
        return max(order, key=lambda trial: getattr(trial, self._goal))

    def store(self, trial: Trial) -> None:
        """Let the run translate with these settings from now on.

        The pointer ``best`` names the checkpoint, and the stored recipe has the beam size and the
        length penalty; of the recipe, nothing else changes.

        Raises:
            TrainingError: The run directory can't be written.
        """
        document = config.read(self._run.recipe).value
        found = {"beam_size": trial.beam_size, "length_penalty": trial.length_penalty}
        document["decoding"] = {**document.get("decoding", {}), **found}
        try:
            self._run.point("best", trial.checkpoint)
            write_atomically(self._run.recipe, config.dump(document))
        except OSError as error:
            raise TrainingError(
                f"{self._run.path} can't be written: {error.strerror or error}"
            ) from error

    def _sweep(self, loaded: Run, beam_size: int) -> Iterator[Trial]:
        """Yield a trial for every length penalty."""
        settings = loaded.decoding({"beam_size": beam_size, "n_best": 1}, str(self._run.recipe))
        translator = loaded.translator(settings, self._device, self._precision)
        assert isinstance(translator.search, BeamSearch)  # noqa: S101 - of a ``BeamConfig``
        translator.search = with_penalties(translator.search, self._penalties)
        texts: list[list[str]] = [[] for _ in self._penalties]
        for lines in self._sources:
            for part in fixed_windows(lines, window_characters(settings), BLOCK_LINES):
                window = translator.parts.cut(part)
                found = translator.hypotheses(window.inputs)
                for number, column in enumerate(texts):
                    chosen = ([hypotheses[number]] for hypotheses in found)
                    column += [line.text for line in translator.parts.join(window, chosen)]
        for penalty, column in zip(self._penalties, texts, strict=True):
            scores = corpus_scores(column, self._references, self._measure)
            name = loaded.checkpoint.name
            trial = Trial(name, beam_size, penalty, scores["bleu"], scores["chrf"])
            self.trials.append(trial)
            yield trial


def _beam_of(recipe: TranslationRecipe, run: RunDirectory) -> BeamConfig:
    decoding = recipe.decoding
    if isinstance(decoding, BeamConfig) and not decoding.mbr:
        return decoding
    other = "mbr" if decoding.mbr else f"kind: {decoding.kind}"
    raise RecipeError(f"{run.recipe}: tuning is for beam search, but decoding has {other}")


def _usual_checkpoints(run: RunDirectory, recipe: TranslationRecipe) -> list[str]:
    """Return the names of the best checkpoints, the last and the averaged one, each once."""
    store = CheckpointStore(run, recipe.training)
    names = [find_checkpoint(run, "best").name, *map(str, store.best_steps(1))]
    names.append(find_checkpoint(run, "last").name)
    names += [AVERAGED] if (run.checkpoints / AVERAGED).is_dir() else []
    return list(dict.fromkeys(names))
