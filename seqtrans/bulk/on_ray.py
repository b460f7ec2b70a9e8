"""The engine for many machines: Ray Data, on a folder that all of them share."""

import importlib
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqtrans.bulk.job import Job
from seqtrans.bulk.local import TRIES, Done
from seqtrans.bulk.work import Shard
from seqtrans.errors import SeqtransError
from seqtrans.tasks.placement import DeviceName
from seqtrans.training.interruption import SIGNALS

_TASKS_A_WORKER = 64  # more would even out the end better, fewer cost Ray less


class ShardActor:
    """A process of Ray's that translates shards; it is started again when it dies."""

    def __init__(self, folder: str, device: DeviceName, threads: int) -> None:
        from seqtrans.bulk.translating import ShardTranslator

        self._error = ""
        try:
            self._translator = ShardTranslator(Path(folder), device, threads)
        except SeqtransError as error:  # told like any other: Ray would start it again and again
            self._error = str(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Translate the shards ``batch["shard"]``; what went wrong is in ``error``."""
        errors = [self._translate(int(number)) for number in batch["shard"]]
        return {"shard": batch["shard"], "error": np.array(errors)}

    def _translate(self, number: int) -> str:
        try:
            if not self._error:
                self._translator.translate(number)
        except SeqtransError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename or 'the job'}: {error.strerror or error}"
        return self._error


def translate_on_ray(
    job: Job, shards: Sequence[Shard], *, workers: int, threads: int, device: DeviceName, gpus: int
) -> Generator[Done]:
    """Translate shards, as they are done, on the cluster that ``RAY_ADDRESS`` names.

    Where it names none, Ray starts on this machine.

    Args:
        job: In a folder that all machines see under the same path, as is the run.
        shards: Which.
        workers: Processes.
        threads: Processor cores of each.
        device: Where they compute.
        gpus: Of each process; 0 on processors.

    Raises:
        SeqtransError: Ray is not installed, or the cluster does not answer.
    """
    ray = _connect()
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # what is missing in the end is told by its lines
        tasks = min(len(shards), _TASKS_A_WORKER * workers)
        numbers = [{"shard": shard.number} for shard in shards]
        translated = ray.data.from_items(numbers, override_num_blocks=tasks).map_batches(
            ShardActor,
            fn_constructor_args=(str(job.folder.absolute()), device, threads),
            batch_size=1,
            concurrency=min(workers, tasks),
            num_cpus=threads,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )
        for row in translated.iter_rows():
            yield Done(int(row["shard"]), error=str(row["error"]))
    finally:
        ray.shutdown()


def _connect() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise SeqtransError(
            "--engine ray needs Ray: pip install 'seqtrans[cluster]', or leave --engine away"
        ) from error
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        ray.init(logging_level="ERROR", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        address = os.environ.get("RAY_ADDRESS", "this machine")
        reason = str(error).strip().splitlines()[0]
        raise SeqtransError(f"Ray does not answer on {address}: {reason}") from error
    finally:
        for number, handler in handlers.items():  # Ray replaces that of SIGTERM
            signal.signal(number, handler)
    return ray
