"""A job from its first shard, or the first that is missing, to the files it is for."""

from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from seqtrans.errors import SeqtransError
from seqtrans.runtime.cpu_count import usable_cores
from seqtrans.runtime.device import DeviceName
from seqtrans.translation.bulk.job_directory import Job, opened
from seqtrans.translation.bulk.job_spec import Shard, Work
from seqtrans.translation.bulk.local_engine import translate_locally
from seqtrans.translation.bulk.worker_process import Done

Engine = Literal["local", "ray"]
_TOLD = 5  # shards that failed, by their lines; more are counted
_HOPELESS = 10  # shards that failed, if fewer were done: no shard is to blame


@dataclass(frozen=True)
class Means:
    """What a job may use; the output does not depend on it.

    Attributes:
        engine: ``local`` is this machine; ``ray`` a cluster.
        workers: Processes; by default as many as fill the machine or cluster, or one a GPU.
        threads: Processor cores of each.
        device: Where they compute.
    """

    engine: Engine = "local"
    workers: int | None = None
    threads: int = 1
    device: DeviceName = "auto"

    @property
    def processes(self) -> int:
        """How many to start on this machine."""
        gpus = torch.cuda.device_count() if self.device != "cpu" else 0
        return self.workers or gpus or max(1, usable_cores() // self.threads)


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
        SeqtransError: Nothing can be translated, or some shards could not, which are named.
    """
    with opened(output, work) as job:
        tally = _Tally(job)
        yield tally.progress
        tally.join_what_is_whole()
        with closing(_run(job, list(tally.missing.values()), means)) as results:
            for result in results:
                if tally.adds(result):
                    yield tally.progress
                if tally.is_hopeless:
                    break
        _check_complete(job, tally.failed)


class _Tally:
    """What is done of a job; joins files as they become whole."""

    def __init__(self, job: Job) -> None:
        self.failed: dict[int, str] = {}
        self.missing = {shard.number: shard for shard in job.missing()}
        self._job = job
        self._total = sum(job.lines)
        self._before = self._done = self._total - sum(s.lines for s in self.missing.values())
        self._left = Counter(shard.source for shard in self.missing.values())

    @property
    def progress(self) -> Progress:
        return Progress(self._done, self._total, self._before, len(self._job.lines))

    @property
    def is_hopeless(self) -> bool:
        done = len(self.missing) - self._left.total()
        return len(self.failed) >= max(_HOPELESS, done)

    def join_what_is_whole(self) -> None:
        for source in self._job.unjoined():
            if not self._left[source]:
                self._job.join(source)

    def adds(self, result: Done) -> bool:
        """Count a shard; whether it is done."""
        if result.error:
            raise SeqtransError(result.error)
        if result.failure:
            self.failed[result.number] = f": {result.failure}"
            return False
        if result.death:
            self.failed[result.number] = f", the process that tried died ({result.death})"
            return False
        shard = self.missing[result.number]
        self._done += shard.lines
        self._left[shard.source] -= 1
        if not self._left[shard.source]:
            self._job.join(shard.source)
        return True


def _run(job: Job, shards: list[Shard], means: Means) -> Generator[Done]:
    if not shards:
        return
    folder = str(job.folder.absolute())
    if means.engine == "local":
        yield from translate_locally(
            folder, shards, workers=means.processes, threads=means.threads, device=means.device
        )
        return
    from seqtrans.translation.bulk.ray_engine import translate_on_ray

    yield from translate_on_ray(
        folder, shards, workers=means.workers, threads=means.threads, device=means.device
    )


def _check_complete(job: Job, failed: dict[int, str]) -> None:
    """Raise an error that names the lines that are missing, if any are."""
    missing = job.missing()
    if not missing:
        return
    missing.sort(key=lambda shard: shard.number not in failed)
    told = [f"{job.where(s)}: not translated{failed.get(s.number, '')}" for s in missing[:_TOLD]]
    if len(missing) > _TOLD:
        told.append(f"and {len(missing) - _TOLD:,} more")
    told.append("the same command tries these again; fewer --workers leave each more memory")
    raise SeqtransError("\n".join(told))
