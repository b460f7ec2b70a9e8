"""``seqtrans train``: from a recipe to a run directory with a trained model."""

import logging
import os
import shutil
import sys
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from seqtrans.cli.options import Changes, NewRun

if TYPE_CHECKING:
    from collections.abc import Generator

    from seqtrans.protocols import MetricsLogger
    from seqtrans.recipe.load import Recipe
    from seqtrans.recipe.resume import Resumption
    from seqtrans.training.checkpoints.run_directory import RunDirectory
    from seqtrans.training.distributed.rendezvous import Rendezvous
    from seqtrans.training.trainer import Outcome, Trainer

logger = logging.getLogger(__name__)
FAILED_ELSEWHERE = 2  # the exit code of the process that reports the error
SHOWN_KEYS = 5


def train(
    recipe: Annotated[Path, typer.Argument(help="YAML file that describes the run.")],
    *,
    run: NewRun = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that stopped, for whatever reason.")
    ] = False,
    settings: Changes = None,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard", help="Also write logs for TensorBoard into the run directory."
        ),
    ] = False,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes; each takes a GPU if there is one."),
    ] = None,
) -> None:
    """Train the model that a recipe describes.

    On several machines, start it on each with torchrun --nnodes ... -m -- seqtrans train RECIPE.
    """
    from seqtrans.training.distributed.failure_reports import in_contact, should_report
    from seqtrans.training.distributed.launch import LIFELINE, follow_launcher
    from seqtrans.training.distributed.process_group import leave
    from seqtrans.training.distributed.rendezvous import connect

    path = run or default_run(recipe)
    if devices is not None and devices > 1:
        _launch(devices, recipe, path, settings or [], resume=resume, tensorboard=tensorboard)
    if LIFELINE in os.environ:
        follow_launcher()
    processes = None
    try:
        processes = connect()
        with ExitStack() as held:
            if processes.store:
                held.enter_context(in_contact(processes, lambda: "preparing the run"))
            held.callback(processes.close)
            resume = resume or _was_restarted(path, processes)
            opened = _resume_run if resume else _new_run
            chosen, directory, store = opened(recipe, settings or [], path, processes, held)
            outcome = _train(chosen, directory, processes, store, tensorboard=tensorboard)
    except Exception as error:
        if not should_report(error, processes):
            raise typer.Exit(FAILED_ELSEWHERE) from error
        raise
    finally:
        leave()
    if outcome.signal is not None:
        again = f"seqtrans train {recipe} --run {directory.path} --resume"
        sys.stderr.write(f"go on with: {again}\n" if processes.rank == 0 else "")
        raise typer.Exit(128 + outcome.signal)


def default_run(recipe: Path) -> Path:
    """Return the run that keeps this recipe, or one that is named after it."""
    is_kept = recipe.name == "recipe.yaml" and (recipe.parent / "checkpoints").is_dir()
    return recipe.parent if is_kept else Path("runs") / recipe.stem


def _launch(
    devices: int, recipe: Path, run: Path, settings: list[str], *, resume: bool, tensorboard: bool
) -> NoReturn:
    """Start the same command in several processes; exit with their code."""
    from seqtrans.training.distributed.launch import launch

    flags = {"--resume": resume, "--tensorboard": tensorboard}
    arguments = ["train", str(recipe), "--run", str(run)]
    arguments += [part for setting in settings for part in ("--set", setting)]
    arguments += [flag for flag, is_on in flags.items() if is_on]
    raise typer.Exit(launch(arguments, devices))


def _was_restarted(path: Path, processes: "Rendezvous") -> bool:
    """Return whether this process was started again by a launcher whose job began the run."""
    from seqtrans.training.checkpoints.run_directory import RunDirectory
    from seqtrans.training.distributed.restarts import is_owned_by

    run, job = RunDirectory(path), processes.job
    if not job:
        return False
    # One process looks, because hosts may see what is new in a shared folder at different times.
    answer = processes.once(
        "was restarted",
        lambda: "yes" if run.is_there() and is_owned_by(run.job, job) else "no",
    )
    return answer == "yes"


def _new_run(
    recipe: Path, settings: list[str], path: Path, processes: "Rendezvous", held: ExitStack
) -> "tuple[Recipe, RunDirectory, None]":
    from seqtrans import config
    from seqtrans.recipe.load import files_to_keep, load_recipe
    from seqtrans.training.checkpoints.run_directory import create, open_run, writing
    from seqtrans.training.micro_batches import check_shares

    chosen = load_recipe(recipe, settings)
    check_shares(chosen.training.micro_batches(processes.world_size), processes.world_size)

    processes.meet("recipe")  # none was refused: of a run that can't be, nothing is to stay

    def begin() -> None:
        held.enter_context(writing(path, processes.job))
        create(path, config.dump(chosen), processes.job, files_to_keep(chosen, recipe.parent))

    processes.once("run", begin)
    return chosen, open_run(path), None


def _resume_run(
    recipe: Path, settings: list[str], path: Path, processes: "Rendezvous", held: ExitStack
) -> "tuple[Recipe, RunDirectory, Resumption]":
    from seqtrans.recipe.resume import resume_recipe
    from seqtrans.training.checkpoints.run_directory import open_run, writing
    from seqtrans.training.distributed.restarts import write_owner

    directory = open_run(path)

    def take() -> None:
        held.enter_context(writing(path, processes.job))
        write_owner(directory.job, processes.job)

    processes.once("run", take)
    resumption = resume_recipe(directory, recipe, settings)
    others = resumption.others
    if others and processes.rank == 0:
        of = ", ".join(others[:SHOWN_KEYS]) + ", ..." * (len(others) > SHOWN_KEYS)
        sys.stderr.write(
            f"going on as {directory.recipe} says; {recipe} says something else of {of}: --set "
            "KEY=VALUE changes it\n"
        )
    return resumption.recipe, directory, resumption


def _train(
    recipe: "Recipe",
    directory: "RunDirectory",
    processes: "Rendezvous",
    resumption: "Resumption | None",
    *,
    tensorboard: bool,
) -> "Outcome":
    from seqtrans.recipe.load import prepare
    from seqtrans.runtime.memory import limit_memory_to_cgroup, prepare_memory
    from seqtrans.training.preflight import check
    from seqtrans.training.reporting.loggers import ConsoleLogger, log_to_stderr
    from seqtrans.training.trainer import Trainer

    with ExitStack() as stack:
        is_first = processes.rank == 0
        if is_first:
            stack.enter_context(log_to_stderr(directory.log))
        with nullcontext() if resumption or not is_first else _removed_on_failure(directory):
            limit_memory_to_cgroup()
            prepare_memory()  # before ``auto`` measures
            loggers = _loggers(directory, tensorboard=tensorboard) if is_first else []
            prepared = prepare(recipe, directory, processes)
            check(prepared, recipe.training, directory)
            console = stack.enter_context(ConsoleLogger(prepared.task.unit))
            trainer = Trainer(
                prepared.task,
                prepared.model,
                recipe.training,
                run=directory,
                loggers=[*loggers, console],
                group=prepared.group,
                origins=prepared.origins,
            )
        if resumption:
            _resume(trainer, resumption, directory)
        outcome = trainer.fit()
        if is_first:
            _conclude(outcome, recipe, directory)
    return outcome


@contextmanager
def _removed_on_failure(run: "RunDirectory") -> "Generator[None]":
    """Remove the directory of a new run if this context fails, so that the next try can use it."""
    try:
        yield
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise


def _resume(trainer: "Trainer[Any]", resumption: "Resumption", directory: "RunDirectory") -> None:
    """Restore the newest checkpoint, then store the changed recipe."""
    if trainer.resume():
        logger.info("going on after %s", trainer.state)
    else:
        logger.info("nothing was saved yet: starting anew")
    if trainer.group.rank == 0:
        resumption.store(directory)


def _loggers(directory: "RunDirectory", *, tensorboard: bool) -> "list[MetricsLogger]":
    from seqtrans.training.reporting.loggers import JsonLinesLogger
    from seqtrans.training.reporting.tensorboard import TensorBoardLogger

    loggers: list[MetricsLogger] = [JsonLinesLogger(directory.metrics)]
    if tensorboard:
        step = max(directory.steps(), default=0)
        loggers.append(TensorBoardLogger(directory.path / "tensorboard", after_step=step))
    return loggers


def _conclude(outcome: "Outcome", recipe: "Recipe", directory: "RunDirectory") -> None:
    """Log how the run ended, draw its curves, and suggest the next command."""
    from seqtrans.training.reporting.plots import draw_curves, read_curves

    logger.info("%s after step %s", outcome.reason.value, f"{outcome.state.step:,}")
    try:
        draw_curves(read_curves(directory.metrics), directory.path / "curves.png")
    except ImportError:
        logger.info("no curves.png: that takes pip install 'seqtrans[plots]'")
    except OSError as error:
        logger.warning("no curves.png: %s", error.strerror or error)
    except MemoryError:
        logger.warning("no curves.png: memory ran out")
    if outcome.signal is None:
        logger.info("%s", _next_step(recipe, directory))


def _next_step(recipe: "Recipe", directory: "RunDirectory") -> str:
    if recipe.task == "translation":
        return f"translate with: seqtrans translate {directory.path} < INPUT > OUTPUT"
    if recipe.data.test is None:
        return f"classify with: seqtrans classify {directory.path} IMAGE..."
    return f"evaluate with: seqtrans evaluate {directory.path}"
