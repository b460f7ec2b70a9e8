"""Translate a million lines in bulk, kill a worker and then the driver on the way, check all bytes.

The corpus is the first lines of a file, as many as fill shards, over and over: so what a single
process, ``seqtrans translate RUN CORPUS --threads 1``, makes of it once must be the whole output,
over and over. That nothing is translated twice is seen in the parts, which a job that goes on must
not touch, and in how many lines it says it had to do. Linux only: it looks processes up in /proc.

    python tools/bulk_million.py RUN --folder /tmp/million -- --beam-size 1

What follows ``--`` goes to ``seqtrans translate``. Exit code 1 says what is wrong.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent / "data/smart-home-en-de/train.en"
KILL_WORKER, KILL_DRIVER = 0.1, 0.4  # of the shards


def main() -> int:
    """Run the job to its end, and hold it against a single process."""
    options = arguments()
    folder: Path = options.folder
    if folder.exists():
        sys.exit(f"{folder} exists; delete it, or give --folder another name")
    folder.mkdir(parents=True)
    with options.corpus.open("rb") as file:
        corpus = list(islice(file, options.distinct))
    times = options.lines // len(corpus)
    once, text = folder / "once.txt", folder / "text.txt"
    once.write_bytes(b"".join(corpus))
    with text.open("wb") as file:
        for _ in range(times):
            file.write(once.read_bytes())
    command = (sys.executable, "-m", "seqtrans", "translate", options.run)
    took = single(command, once, folder / "single.txt", options.translate)
    print(f"single process: {len(corpus):,} lines in {took:,.1f} s, model loaded and all")
    how = ["--shard-lines", options.shard_lines, "--engine", options.engine]
    how += ["--workers", options.workers]
    job = Job(
        [*command, text, "--output", folder / "out", *how, *options.translate],
        folder / "out",
        shards=-(-len(corpus) * times // options.shard_lines),
    )
    complaints = undergo(job, options)
    if not repeats(folder / "out" / "text.txt", (folder / "single.txt").read_bytes(), times):
        complaints.append("the output is not that of a single process")
    print("\n".join(complaints) or "every byte is that of a single process; nothing was done twice")
    if not options.keep:
        shutil.rmtree(folder)
    return 1 if complaints else 0


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="What follows -- goes to seqtrans translate.",
    )
    parser.add_argument("run", help="run directory of a translation model")
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    parser.add_argument("--distinct", type=int, default=10_000, help="lines of it to repeat")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--shard-lines", type=int, default=5_000, help="a divisor of --distinct")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--folder", type=Path, default=Path("bulk-million"))
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)  # argparse loses what follows it
    options = parser.parse_args(words[:end])
    options.translate = words[end + 1 :]
    if options.distinct % options.shard_lines or options.lines % options.distinct:
        parser.error("--shard-lines must divide --distinct, and that --lines")
    return options


def single(command: Sequence[object], text: Path, output: Path, more: Sequence[str]) -> float:
    """Translate a file in one process of one thread; seconds."""
    started = time.monotonic()
    words = [*command, text, "--output", output, "--threads", "1", *more]
    subprocess.run(list(map(str, words)), check=True)
    return time.monotonic() - started


class Job:
    """A bulk job, seen from outside."""

    def __init__(self, command: Sequence[object], output: Path, shards: int) -> None:
        self.command = list(map(str, command))
        self.output = output
        self.shards = shards
        self.started = 0.0
        self.driver: subprocess.Popen[str]

    def start(self) -> None:
        """Begin it, or go on with it."""
        self.started = time.monotonic()
        self.driver = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)

    def parts(self) -> dict[str, tuple[int, int]]:
        """Shards that are done, each with what tells whether its file was written anew."""
        folder = self.output / ".seqtrans-job" / "parts"
        found = {}
        for path in folder.glob("[0-9]*"):
            try:
                found[path.name] = (path.stat().st_ino, path.stat().st_mtime_ns)
            except FileNotFoundError:  # its file was joined meanwhile
                continue
        return found

    def workers(self) -> list[int]:
        """Processes that translate for it, on either engine."""
        mark = str(self.output.absolute()).encode()
        return [p for p, line in commands().items() if b"bulk.worker" in line and mark in line]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, or the end of the driver."""
        while not condition() and self.driver.poll() is None:
            time.sleep(0.2)


def undergo(job: Job, options: argparse.Namespace) -> list[str]:
    """Run a job with a worker and then the driver killed; what is wrong."""
    job.start()
    job.wait_until(lambda: len(job.parts()) >= KILL_WORKER * job.shards)
    victim = job.workers()[0]
    if options.engine == "ray":  # the actor; what translates for it goes with it
        victim = parent(victim)
    os.kill(victim, signal.SIGKILL)
    print(f"killed a worker (process {victim}) after {len(job.parts())} of {job.shards} shards")
    job.wait_until(lambda: len(job.parts()) >= KILL_DRIVER * job.shards)
    memory(job, "before the driver is killed")
    job.driver.kill()
    job.driver.communicate()
    while job.workers():
        time.sleep(0.2)
    done = job.parts()
    lines = len(done) * options.shard_lines
    rate(lines, time.monotonic() - job.started, "until the driver was killed")
    return go_on(job, done, options)


def go_on(job: Job, done: dict[str, tuple[int, int]], options: argparse.Namespace) -> list[str]:
    """Start a job again whose driver is dead; what is wrong in the end."""
    job.start()
    written_anew: set[str] = set()

    def is_near_the_end() -> bool:
        now = job.parts()
        written_anew.update(name for name, was in done.items() if now.get(name, was) != was)
        return len(now) >= 0.95 * job.shards

    job.wait_until(is_near_the_end)
    memory(job, "near the end")
    said = job.driver.communicate()[1]
    seconds = time.monotonic() - job.started
    print(said.strip())
    if job.driver.returncode:
        return [f"the job ended with exit code {job.driver.returncode}"]
    before = len(done) * options.shard_lines
    rate(options.lines - before, seconds, "after that")
    complaints = [f"shard {name} was written anew" for name in sorted(written_anew)]
    told = re.search(r"([\d,]+) of [\d,]+ lines are done from before", said)
    if told is None or int(told[1].replace(",", "")) != before:
        complaints.append(f"{before:,} lines were done before, of which the job knows nothing")
    return complaints


def rate(lines: int, seconds: float, when: str) -> None:
    """Say how fast lines were translated."""
    print(f"{lines:,} lines in {seconds:,.1f} s {when}: {lines / seconds:,.1f} lines/s")


def memory(job: Job, when: str) -> None:
    """Say what the largest processes take."""
    pids = (job.driver.pid, *job.workers())
    driver, *workers = [resident(pid) for pid in pids]
    print(f"memory {when}: driver {driver:,} MiB, largest worker {max(workers, default=0):,} MiB")


def resident(pid: int) -> int:
    """Most memory that a process had, MiB; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) // 1024 if found else 0


def parent(pid: int) -> int:
    """The process that started another."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def commands() -> dict[int, bytes]:
    """Command lines of all processes."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                found[int(path.name)] = (path / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def repeats(path: Path, once: bytes, times: int) -> bool:
    """Whether a file is ``once``, so many times, and nothing else."""
    if path.stat().st_size != len(once) * times:
        return False
    with path.open("rb") as file:
        return all(file.read(len(once)) == once for _ in range(times))


if __name__ == "__main__":
    sys.exit(main())
