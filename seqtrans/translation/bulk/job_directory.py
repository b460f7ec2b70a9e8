"""The folder of a bulk job.

``.seqtrans-job`` in the output folder holds ``plan.json``, the text of the shards in ``shards/``,
their translations in ``parts/``, and in ``joined/`` an empty file for every complete output file,
whose shards and parts are deleted.
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
from seqtrans.translation.bulk.job_spec import Shard, Work, as_json, from_json, source_of

FOLDER = ".seqtrans-job"
_PLAN = "plan.json"


class Job:
    """A bulk job and its folder.

    Args:
        output: Folder of the output; that of the job is in it.
        work: What to translate.
        lines: Number of lines of every source.
    """

    def __init__(self, output: Path, work: Work, lines: Sequence[int]) -> None:
        self.output = output
        self.folder = output / FOLDER
        self.work = work
        self.lines = list(lines)

    def shards(self) -> Iterator[Shard]:
        """Yield all shards, in order."""
        number, size = 0, self.work.shard_lines
        for source, lines in enumerate(self.lines):
            for first in range(0, lines, size):
                yield Shard(number, source, first + 1, min(size, lines - first))
                number += 1

    def missing(self) -> list[Shard]:
        """Return the shards that are not translated."""
        parts = _names_in(self.folder / "parts")
        joined = _names_in(self.folder / "joined")
        return [
            shard
            for shard in self.shards()
            if str(shard.source) not in joined and _name(shard.number) not in parts
        ]

    def text(self, number: int) -> list[str]:
        """Return the lines of a shard."""
        return _shard_file(self.folder, number).read_bytes().decode().split("\n")[:-1]

    def is_done(self, number: int) -> bool:
        """Return whether a shard is translated and not joined yet."""
        return self._part(number).exists()

    def finish(self, number: int, lines: Iterable[str]) -> None:
        """Store the translation of a shard.

        Two processes may do so at once after a driver was killed and started again. Half written
        files are left to ``clean``: looking for them among 100,000 parts takes long.
        """
        text = "".join(f"{line}\n" for line in lines)
        with open_aside(self._part(number), sweeps=False) as file:
            file.write(text.encode())

    def join(self, source: int) -> None:
        """Join the translated shards of a source into its output file.

        Raises:
            DataError: A part was altered.
        """
        shards = [shard for shard in self.shards() if shard.source == source]
        with open_aside(self.output / self.work.names[source]) as file:
            for shard in shards:
                text = self._part(shard.number).read_bytes()
                if text.count(b"\n") != shard.lines:
                    raise DataError(
                        f"{self._part(shard.number)} was altered: it must have {shard.lines:,} "
                        "lines; delete it and start the same command again"
                    )
                file.write(text)
        (self.folder / "joined" / str(source)).touch()
        sync_folder(self.folder / "joined")  # before the parts are deleted
        self._delete(shards)

    def clean(self) -> None:
        """Delete what killed processes left."""
        for partial in (self.folder / "parts").glob(".*"):
            partial.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "begun", ignore_errors=True)  # attempts, counted by ray_engine
        unjoined = set(self.unjoined())
        left = _names_in(self.folder / "shards") | _names_in(self.folder / "parts")
        shards = (shard for shard in self.shards() if shard.source not in unjoined)
        self._delete([shard for shard in shards if _name(shard.number) in left])

    def unjoined(self) -> list[int]:
        """Return the sources whose output is not complete."""
        joined = _names_in(self.folder / "joined")
        return [i for i in range(len(self.lines)) if str(i) not in joined]

    def where(self, shard: Shard) -> str:
        """Return lines and file of a shard, for messages."""
        path = self.work.sources[shard.source].path
        return f"lines {shard.first:,} to {shard.first + shard.lines - 1:,} of {path}"

    def _delete(self, shards: Iterable[Shard]) -> None:
        for shard in shards:
            self._part(shard.number).unlink(missing_ok=True)
            _shard_file(self.folder, shard.number).unlink(missing_ok=True)

    def _part(self, number: int) -> Path:
        return self.folder / "parts" / _name(number)


@contextmanager
def opened(output: Path, work: Work) -> Generator[Job]:
    """Begin or continue the job of a folder, and lock it meanwhile.

    Raises:
        DataError: The folder can't be written or holds another job; or a source is not text, would
            be overwritten, or has changed.
        LockedError: Another process runs the job.
    """
    folder = output / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock", f"the job in {output}"):
            yield _continued(output, work) if (folder / _PLAN).exists() else _begun(output, work)
    except OSError as error:
        raise DataError(f"{error.filename or output}: {error.strerror or error}") from error


def load_job(folder: Path) -> Job:
    """Read the job of ``Job.folder``.

    Raises:
        DataError: The plan is damaged.
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
        shutil.rmtree(folder / name, ignore_errors=True)  # a killed process may have left it
        (folder / name).mkdir()
    lines = _cut(work, folder)
    os.sync()  # once, as there may be 100,000 files
    write_atomically(folder / _PLAN, as_json(work, lines))
    return Job(output, work, lines)


def _cut(work: Work, folder: Path) -> list[int]:
    """Write the text of the shards; return the number of lines of every source."""
    counts: list[int] = []
    number = 0
    for source in work.sources:
        lines, count = open_lines(Path(source.path)), 0
        while shard := list(islice(lines, work.shard_lines)):
            file = _shard_file(folder, number)
            file.write_bytes("".join(f"{line}\n" for line in shard).encode())
            number, count = number + 1, count + len(shard)
        counts.append(count)
        if source_of(Path(source.path)) != source:
            raise DataError(f"{source.path} changes while it is read: wait until it is complete")
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
            path = output / work.names[source]
            raise DataError(f"{path} was complete and is gone: put it back, or {begin_again}")
    job.clean()
    return job


def _shard_file(folder: Path, number: int) -> Path:
    return folder / "shards" / _name(number)


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _name(number: int) -> str:
    return f"{number:09}"
