"""A job from its first shard, or the first that is missing, to the files it is for."""

import os
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from seqtrans.bulk.job import Job, opened
from seqtrans.bulk.local import Done, translate_locally
from seqtrans.bulk.work import Shard, Work
from seqtrans.errors import SeqtransError
from seqtrans.tasks.placement import DeviceName

Engine = Literal["local", "ray"]
_TOLD = 5  # shards that failed, by their lines; more are counted


@dataclass(frozen=True)
class Means:
    """What a job may use; the output does not depend on it.

    Attributes:
        engine: ``local`` is this machine; ``ray`` a cluster.
        workers: Processes; by default as many as fill this machine, or one a GPU.
        threads: Processor cores of each.
        device: Where they compute.
    """

    engine: Engine = "local"
    workers: int | None = None
    threads: int = 1
    device: DeviceName = "auto"

    @property
    def gpus(self) -> int:
        """GPUs of this machine that may be used."""
        return torch.cuda.device_count() if self.device != "cpu" else 0

    @property
    def processes(self) -> int:
        """How many to start."""
        return self.workers or self.gpus or max(1, _cores() // self.threads)


@dataclass(frozen=True)
class Progress:
    """How far a job is, in lines.

    Attributes:
        done: Translated, now and before.
        total: All there are.
        before: Translated when this process took the job up.
        files: Output files.
    """

    done: int
    total: int
    before: int
    files: int


def translate_files(work: Work, output: Path, means: Means) -> Generator[Progress]:
    """Translate the sources of ``work`` into files of ``output``; first tells where it stands.

    Killed at any moment, it goes on where it stood when called again; closing the generator ends
    its processes.

    Raises:
        DataError: See ``job.opened``.
        LockedError: Another process drives the job.
        SeqtransError: A shard can't be translated.
    """
    with opened(output, work) as job:
        missing = {shard.number: shard for shard in job.missing()}
        total = sum(job.lines)
        before = done = total - sum(shard.lines for shard in missing.values())
        yield Progress(done, total, before, len(job.lines))
        left = Counter(shard.source for shard in missing.values())
        for source in job.unjoined():
            if not left[source]:
                job.join(source)
        failed: dict[int, str] = {}
        for result in _run(job, list(missing.values()), means):
            shard = _checked(result, missing, failed)
            if shard is None:
                continue
            done += shard.lines
            left[shard.source] -= 1
            if not left[shard.source]:
                job.join(shard.source)
            yield Progress(done, total, before, len(job.lines))
        _check_complete(job, failed)


def _run(job: Job, shards: list[Shard], means: Means) -> Generator[Done]:
    if not shards:
        return
    if means.engine == "local":
        yield from translate_locally(
            job, shards, workers=means.processes, threads=means.threads, device=means.device
        )
        return
    from seqtrans.bulk.on_ray import translate_on_ray

    on_gpu = means.device == "cuda" or (means.device == "auto" and means.gpus > 0)
    yield from translate_on_ray(
        job,
        shards,
        workers=means.processes,
        threads=means.threads,
        device=means.device,
        gpus=int(on_gpu),
    )


def _checked(result: Done, shards: dict[int, Shard], failed: dict[int, str]) -> Shard | None:
    """The shard that is done; none if it is given up."""
    if result.error:
        raise SeqtransError(result.error)
    if result.death:
        failed[result.number] = result.death
        return None
    return shards[result.number]


def _check_complete(job: Job, failed: dict[int, str]) -> None:
    """Raise an error that names the lines that are missing, if any are."""
    missing = job.missing()
    if not missing:
        return
    told = [
        f"{job.where(shard)}: not translated, the process that tried died "
        f"({failed.get(shard.number, 'of what, Ray knows')})"
        for shard in missing[:_TOLD]
    ]
    if len(missing) > _TOLD:
        told.append(f"and {len(missing) - _TOLD:,} more")
    told.append("the same command tries these again; a smaller --batch-tokens takes less memory")
    raise SeqtransError("\n".join(told))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
