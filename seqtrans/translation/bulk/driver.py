"""Run a bulk job: translate the shards that are missing, then join them into files."""

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
from seqtrans.translation.bulk.local_engine import Done, translate_locally

Engine = Literal["local", "ray"]
_SHOWN = 5  # failed shards named in an error; the others are counted
_HOPELESS = 10  # failed shards after which a job with no more successes than failures ends


@dataclass(frozen=True)
class Means:
    """Resources that a job may use; the output does not depend on them.

    Attributes:
        engine: ``local`` is this machine, ``ray`` a cluster.
        workers: Number of processes; None: one for each GPU, or as many as there are cores for.
        threads: Processor cores of each process.
        device: Where they compute.
    """

    engine: Engine = "local"
    workers: int | None = None
    threads: int = 1
    device: DeviceName = "auto"

    @property
    def processes(self) -> int:
        """Number of processes to start on this machine."""
        gpus = torch.cuda.device_count() if self.device != "cpu" else 0
        return self.workers or gpus or max(1, usable_cores() // self.threads)


@dataclass(frozen=True)
class Progress:
    """Progress of a job in lines.

    Attributes:
        done: Translated lines, those of earlier runs included.
        total: All lines.
        before: Lines that earlier runs translated.
        files: Number of output files.
    """

    done: int
    total: int
    before: int
    files: int


def translate_files(work: Work, output: Path, means: Means) -> Generator[Progress]:
    """Translate the sources of ``work`` into files of ``output``; yield progress.

    The first progress is that of earlier runs. A killed job continues where it was when this is
    called again. Closing the generator ends the processes.

    Raises:
        DataError: See ``opened``.
        LockedError: Another process runs the job.
        SeqtransError: Nothing can be translated, or some shards could not; it names them.
    """
    with opened(output, work) as job:
        tally = _Tally(job)
        yield tally.progress
        tally.join_complete()
        with closing(_run(job, list(tally.missing.values()), means)) as results:
            for result in results:
                if tally.add(result):
                    yield tally.progress
                if tally.is_hopeless:
                    break
        _check_complete(job, tally.failed)


class _Tally:
    """Counts the shards that are done, and joins a file when all of its shards are."""

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

    def join_complete(self) -> None:
        for source in self._job.unjoined():
            if not self._left[source]:
                self._job.join(source)

    def add(self, result: Done) -> bool:
        """Count a shard; return whether it is done."""
        if result.error:
            raise SeqtransError(result.error)
        if result.failure:
            self.failed[result.number] = f": {result.failure}"
            return False
        if result.death:
            self.failed[result.number] = f": its process died ({result.death})"
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
    """Raise an error that names missing lines, if there are any."""
    missing = job.missing()
    if not missing:
        return
    missing.sort(key=lambda shard: shard.number not in failed)
    lines = [f"{job.where(s)}: not translated{failed.get(s.number, '')}" for s in missing[:_SHOWN]]
    if len(missing) > _SHOWN:
        lines.append(f"and {len(missing) - _SHOWN:,} more")
    lines.append("start the same command to try these again; fewer --workers take less memory")
    raise SeqtransError("\n".join(lines))
