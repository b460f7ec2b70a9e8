"""The engine for many machines: Ray Data, on a folder that all of them share."""

import importlib
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from seqtrans.bulk.process import TRIES, Done, WorkerProcess
from seqtrans.bulk.work import Shard
from seqtrans.errors import SeqtransError
from seqtrans.tasks.placement import DeviceName
from seqtrans.training.interruption import SIGNALS

_BLOCKS_A_WORKER = 64  # more would even out the end better, fewer cost Ray less


class ShardActor:
    """A process of Ray's that has shards translated by one of its own.

    So a shard that kills whatever translates it is found out and named by the same rule as
    without Ray, and the others of its block are done; Ray starts the actor itself again where a
    machine is lost.
    """

    def __init__(self, folder: str, device: DeviceName, threads: int) -> None:
        self._worker = WorkerProcess(folder, device, threads)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Translate the shards ``batch["shard"]``; how they went is in ``error`` and ``death``."""
        done = [self._worker.translate(int(number)) for number in batch["shard"]]
        return {
            "shard": batch["shard"],
            "error": np.array([shard.error for shard in done]),
            "death": np.array([shard.death for shard in done]),
        }


def translate_on_ray(
    folder: str,
    shards: Sequence[Shard],
    *,
    workers: int | None,
    threads: int,
    device: DeviceName,
) -> Generator[Done]:
    """Translate shards, as they are done, on the cluster that ``RAY_ADDRESS`` names.

    Where it names none, Ray starts on this machine, unless it runs there already.

    Args:
        folder: The job's own, which all machines see under the same path, as the run.
        shards: Which.
        workers: Processes; by default as many as fill the cluster.
        threads: Processor cores of each.
        device: Where they compute; by default on GPUs if the cluster has any.

    Raises:
        SeqtransError: Ray is not installed, or the cluster does not answer or lacks what it needs.
    """
    ray = _connect()
    try:
        cores, gpus = _most_of_a_machine(ray, "CPU"), _most_of_a_machine(ray, "GPU")
        on_gpu = device == "cuda" or (device == "auto" and gpus >= 1)
        if cores < threads or (on_gpu and gpus < 1):
            lacks = "a GPU" if cores >= threads else f"{threads} cores (--threads)"
            raise SeqtransError(f"no machine of the Ray cluster has {lacks}")
        room = ray.cluster_resources()
        workers = workers or int(room["GPU"] if on_gpu else room["CPU"] // threads)
        left = {shard.number for shard in shards}
        # A block is lost with a machine that dies again and again. Then its shards go one by one.
        for blocks in (_BLOCKS_A_WORKER * workers, len(left)):
            context = (folder, device, threads)
            for done in _pass(ray, sorted(left), blocks, workers, context, int(on_gpu)):
                left.discard(done.number)
                yield done
    except ray.exceptions.RayError as error:
        raise SeqtransError(f"Ray: {_first_line(error)}; the same command goes on") from error
    finally:
        ray.shutdown()


def _pass(
    ray: Any,
    numbers: Sequence[int],
    blocks: int,
    workers: int,
    arguments: tuple[str, str, int],
    gpus: int,
) -> Generator[Done]:
    """What becomes of shards; of those in blocks that Ray gives up, nothing comes."""
    if not numbers:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    blocks = min(blocks, len(numbers))
    translated = ray.data.from_items(
        [{"shard": number} for number in numbers], override_num_blocks=blocks
    ).map_batches(
        ShardActor,
        fn_constructor_args=arguments,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)),
        num_cpus=arguments[-1],
        num_gpus=gpus,
        max_restarts=-1,
        max_task_retries=TRIES - 1,
    )
    for row in translated.iter_rows():
        yield Done(int(row["shard"]), str(row["error"]), str(row["death"]))


def _most_of_a_machine(ray: Any, resource: str) -> float:
    return max((n["Resources"].get(resource, 0) for n in ray.nodes() if n["Alive"]), default=0)


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
        raise SeqtransError(f"Ray does not answer on {address}: {_first_line(error)}") from error
    finally:
        for number, handler in handlers.items():  # Ray replaces that of SIGTERM
            signal.signal(number, handler)
    return ray


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
