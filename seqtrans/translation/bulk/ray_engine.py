"""The engine for a cluster: Ray Data, on a folder that all machines share."""

import importlib
import logging
import os
import shutil
import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seqtrans.errors import SeqtransError
from seqtrans.runtime.device import DeviceName
from seqtrans.runtime.memory import share_of_cap
from seqtrans.runtime.signals import SIGNALS
from seqtrans.translation.bulk.job_spec import Shard
from seqtrans.translation.bulk.local_engine import TRIES, Done, WorkerProcess

_BLOCKS_PER_WORKER = 64  # more balance the work better, fewer cost Ray less

_OUTCOME = ("error", "death", "failure")  # of ``Done``, in its order


class ShardActor:
    """A process of Ray that has shards translated by a ``WorkerProcess`` of its own.

    So a shard that kills its process is named by the same rule as without Ray. Ray restarts lost
    actors without limit, and itself ends actors when memory is short; therefore attempts at a
    shard are counted in files, too.
    """

    def __init__(
        self, folder: str, device: DeviceName, threads: int, workers: int | None = None
    ) -> None:
        self._begun = begun_in(folder)
        count = 1 if workers is None else min(workers, _actors_that_fit(threads))
        memory = share_of_cap(count, starters=count)
        self._worker = WorkerProcess(folder, device, threads, memory=memory)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Translate the shards ``batch["shard"]``; return columns of outcomes, as in ``Done``."""
        done = [self._translate(int(number)) for number in batch["shard"]]
        columns = {name: np.array([vars(one)[name] for one in done]) for name in _OUTCOME}
        return {"shard": batch["shard"], **columns}

    def _translate(self, number: int) -> Done:
        mark = self._begun / str(number)
        try:
            with mark.open("ab") as file:
                file.write(b".")
            if mark.stat().st_size > TRIES:
                return Done(number, death=f"{TRIES} times, with Ray's actor; out of memory?")
            done = self._worker.translate(number)
            mark.unlink(missing_ok=True)
        except OSError as error:
            return Done(number, error=f"{error.filename or mark}: {error.strerror or error}")
        return done


def translate_on_ray(
    folder: str,
    shards: Sequence[Shard],
    *,
    workers: int | None,
    threads: int,
    device: DeviceName,
) -> Generator[Done]:
    """Translate shards on the cluster of ``RAY_ADDRESS``; yield each outcome as it comes.

    Without ``RAY_ADDRESS`` the cluster is this machine.

    Args:
        folder: Folder of the job, ``Job.folder``; all machines see it and the run under the same
            path.
        shards: Shards to translate.
        workers: Number of processes; None: as many as fill the cluster.
        threads: Processor cores of each process.
        device: Where they compute; ``auto`` is GPUs if the cluster has any.

    Raises:
        SeqtransError: Ray is not installed, or the cluster does not answer or has too few cores or
            GPUs.
    """
    ray = _connect()
    try:
        cores, gpus = _most_of_a_machine(ray, "CPU"), _most_of_a_machine(ray, "GPU")
        on_gpu = device == "cuda" or (device == "auto" and gpus >= 1)
        if cores < threads or (on_gpu and gpus < 1):
            missing = "a GPU" if cores >= threads else f"{threads} cores (--threads)"
            raise SeqtransError(f"no machine of the Ray cluster has {missing}")
        total = ray.cluster_resources()
        workers = workers or int(total["GPU"] if on_gpu else total["CPU"] // threads)
        shutil.rmtree(begun_in(folder), ignore_errors=True)
        begun_in(folder).mkdir()
        arguments = (folder, device, threads, workers)
        yield from _translated(ray, shards, workers, arguments, int(on_gpu))
        shutil.rmtree(begun_in(folder), ignore_errors=True)
    except ray.exceptions.RayError as error:
        raise SeqtransError(
            f"Ray: {_first_line(error)}; start the same command to continue"
        ) from error
    finally:
        ray.shutdown()


def begun_in(folder: str) -> Path:
    """Return the folder where a file for each shard grows by a byte with every attempt."""
    return Path(folder) / "begun"


def _translated(
    ray: Any, shards: Sequence[Shard], workers: int, arguments: tuple[str, str, int, int], gpus: int
) -> Generator[Done]:
    ray.data.DataContext.get_current().enable_progress_bars = False
    blocks = min(_BLOCKS_PER_WORKER * workers, len(shards))
    numbers = [{"shard": shard.number} for shard in shards]
    done = ray.data.from_items(numbers, override_num_blocks=blocks).map_batches(
        ShardActor,
        fn_constructor_args=arguments,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)),
        num_cpus=arguments[2],
        num_gpus=gpus,
    )
    for row in done.iter_rows():
        yield Done(int(row["shard"]), *(str(row[name]) for name in _OUTCOME))


def _actors_that_fit(threads: int) -> int:
    """Return how many actors fit on this machine."""
    ray = importlib.import_module("ray")
    here = ray.get_runtime_context().get_node_id()
    cores = sum(n["Resources"].get("CPU", 0) for n in ray.nodes() if n["NodeID"] == here)
    return max(1, int(cores // threads))


def _most_of_a_machine(ray: Any, resource: str) -> float:
    return max((n["Resources"].get(resource, 0) for n in ray.nodes() if n["Alive"]), default=0)


def _connect() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it logs to the terminal
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray 2.51 warns of it
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise SeqtransError(
            "--engine ray needs Ray: pip install 'seqtrans[cluster]', or leave out --engine"
        ) from error
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # not the one to Ray's log files
            handler.setLevel(logging.ERROR)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with _silent():
            ray.init(logging_level="ERROR", log_to_driver=False, include_dashboard=False)
    except Exception as error:  # Ray raises a plain one where the start takes too long
        address = os.environ.get("RAY_ADDRESS", "this machine")
        raise SeqtransError(f"Ray does not answer on {address}: {_first_line(error)}") from error
    finally:
        for number, handler in handlers.items():  # Ray replaces that of SIGTERM
            signal.signal(number, handler)
    return ray


@contextmanager
def _silent() -> Generator[None]:
    """Discard the standard error, where Ray's core writes its log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
