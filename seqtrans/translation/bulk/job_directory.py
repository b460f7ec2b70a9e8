"""The folder of a bulk job: the shards, what is done of them, and the files they become.

``.seqtrans-job`` in the output folder holds ``plan.json``, the text of the shards in ``shards/``,
their translations in ``parts/``, and in ``joined/`` a mark for every file that is whole, of which
shards and parts are gone then.
"""

import os
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from seqtrans.errors import DataError
from seqtrans.runtime.files.atomic_files import open_aside, sync_folder, write_atomically
from seqtrans.runtime.files.run_lock import locked
from seqtrans.runtime.files.text_files import open_lines
from seqtrans.translation.bulk.job_spec import Shard, Work, as_json, from_json, look_at

FOLDER = ".seqtrans-job"
_PLAN = "plan.json"


class Job:
    """What there is to do and where.

    Args:
        output: Folder of the output, which holds the job's own.
        work: What to translate.
        lines: Of every source.
    """

    def __init__(self, output: Path, work: Work, lines: Sequence[int]) -> None:
        self.output = output
        self.folder = output / FOLDER
        self.work = work
        self.lines = list(lines)

    def shards(self) -> Iterator[Shard]:
        """All of them, in order."""
        number, size = 0, self.work.shard_lines
        for source, lines in enumerate(self.lines):
            for first in range(0, lines, size):
                yield Shard(number, source, first + 1, min(size, lines - first))
                number += 1

    def missing(self) -> list[Shard]:
        """Those that are not translated yet."""
        parts = _names_in(self.folder / "parts")
        joined = _names_in(self.folder / "joined")
        return [
            shard
            for shard in self.shards()
            if str(shard.source) not in joined and _name(shard.number) not in parts
        ]

    def text(self, number: int) -> list[str]:
        """Lines of a shard."""
        return _shard_file(self.folder, number).read_bytes().decode().split("\n")[:-1]

    def is_done(self, number: int) -> bool:
        """Whether a shard is translated, its file not joined yet."""
        return self._part(number).exists()

    def finish(self, number: int, lines: Iterable[str]) -> None:
        """Keep a shard's translation.

        Two may do so at once where a driver was killed and another one began. What is half
        written is left to ``clean``, as there may be 100,000 parts to look through.
        """
        text = "".join(f"{line}\n" for line in lines)
        with open_aside(self._part(number), sweeps=False) as file:
            file.write(text.encode())

    def join(self, source: int) -> None:
        """Put the output of a source, all of whose shards are translated, in place.

        Raises:
            DataError: A part was altered.
        """
        shards = [shard for shard in self.shards() if shard.source == source]
        with open_aside(self.output / self.work.names[source]) as file:
            for shard in shards:
                text = self._part(shard.number).read_bytes()
                if text.count(b"\n") != shard.lines:
                    raise DataError(
                        f"{self._part(shard.number)} was altered: it has not {shard.lines:,} "
                        "lines; delete it and start the same command again"
                    )
                file.write(text)
        (self.folder / "joined" / str(source)).touch()
        sync_folder(self.folder / "joined")  # before what it was made of goes
        self._forget(shards)

    def clean(self) -> None:
        """Remove what killed processes have left, which nothing needs."""
        for left in (self.folder / "parts").glob(".*"):  # half written
            left.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "begun", ignore_errors=True)  # the engine of Ray counts there
        unjoined = set(self.unjoined())
        left = _names_in(self.folder / "shards") | _names_in(self.folder / "parts")
        shards = (shard for shard in self.shards() if shard.source not in unjoined)
        self._forget([shard for shard in shards if _name(shard.number) in left])

    def unjoined(self) -> list[int]:
        """Sources whose output is not in place yet."""
        joined = _names_in(self.folder / "joined")
        return [i for i in range(len(self.lines)) if str(i) not in joined]

    def where(self, shard: Shard) -> str:
        """A shard in the user's terms."""
        path = self.work.sources[shard.source].path
        return f"lines {shard.first:,} to {shard.first + shard.lines - 1:,} of {path}"

    def _forget(self, shards: Iterable[Shard]) -> None:
        for shard in shards:
            self._part(shard.number).unlink(missing_ok=True)
            _shard_file(self.folder, shard.number).unlink(missing_ok=True)

    def _part(self, number: int) -> Path:
        return self.folder / "parts" / _name(number)


@contextmanager
def opened(output: Path, work: Work) -> Generator[Job]:
    """The job in a folder, begun or continued; no other process drives it meanwhile.

    Raises:
        DataError: The folder can't be written or holds another job, or a source is no text, would
            be overwritten, or has changed.
        LockedError: Another process drives the job.
    """
    folder = output / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock", f"the job in {output}"):
            yield _continued(output, work) if (folder / _PLAN).exists() else _begun(output, work)
    except OSError as error:
        raise DataError(f"{error.filename or output}: {error.strerror or error}") from error


def load_job(folder: Path) -> Job:
    """The job of a job's own folder, as it was begun.

    Raises:
        DataError: It is damaged.
    """
    path = folder / _PLAN
    try:
        return Job(folder.parent, *from_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}); delete {folder} to begin again") from error


def _begun(output: Path, work: Work) -> Job:
    sources = {Path(source.path).resolve() for source in work.sources}
    for name in work.names:
        if (output / name).resolve() in sources:
            raise DataError(f"{output / name} would be overwritten: take another folder")
    folder = output / FOLDER
    for name in ("shards", "parts", "joined"):
        shutil.rmtree(folder / name, ignore_errors=True)  # of one that was stopped while it cut
        (folder / name).mkdir()
    lines = _cut(work, folder)
    os.sync()  # once, as there may be 100,000 files
    write_atomically(folder / _PLAN, as_json(work, lines))
    return Job(output, work, lines)


def _cut(work: Work, folder: Path) -> list[int]:
    """Write the shards' text; how many lines every source has."""
    counts: list[int] = []
    number = 0
    for source in work.sources:
        lines, count = open_lines(Path(source.path)), 0
        while shard := list(islice(lines, work.shard_lines)):
            file = _shard_file(folder, number)
            file.write_bytes("".join(f"{line}\n" for line in shard).encode())
            number, count = number + 1, count + len(shard)
        counts.append(count)
        if look_at(Path(source.path)) != source:
            raise DataError(f"{source.path} changes while it is read: wait until it is whole")
    return counts


def _continued(output: Path, work: Work) -> Job:
    job = load_job(output / FOLDER)
    begin_again = f"take another folder, or delete {job.folder} to begin again"
    stored, asked = asdict(job.work), asdict(work)
    other = [name for name, value in stored.items() if asked[name] != value]
    if other == ["sources"]:
        now = {source.path: source for source in work.sources}
        for source in job.work.sources:
            if source.path in now and now[source.path] != source:
                raise DataError(f"{source.path} has changed since the job began: {begin_again}")
    if other:
        names = " and ".join(name.replace("_", " ") for name in other)
        raise DataError(f"{output} holds a job with other {names}: {begin_again}")
    for source in set(range(len(job.lines))).difference(job.unjoined()):
        if not (output / work.names[source]).exists():
            gone = output / work.names[source]
            raise DataError(f"{gone} was whole and is gone: put it back, or {begin_again}")
    job.clean()
    return job


def _shard_file(folder: Path, number: int) -> Path:
    return folder / "shards" / _name(number)


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _name(number: int) -> str:
    return f"{number:09}"
