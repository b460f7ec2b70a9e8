"""Processes in which code meets hostile files: bounded in memory and time, and watched."""

import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from seqtrans.errors import SeqtransError
from tests.support.processes import processes

MOST_MEMORY = 1 << 30
FUSE = MOST_MEMORY * 2  # what is more can't be had, so that the machine survives a failing test
SECONDS = 5  # of the processor, which a frozen or busy machine does not use up
MOST_DEATHS = 3
LONGEST_MESSAGE = 20_000


@dataclass(frozen=True)
class Victim:
    """Something that reads files.

    Attributes:
        make: Writes files that are as they should be into a folder.
        spoil: Harms the files of a folder; every draw from the generator gives another harm.
        use: Reads the files of a folder as seqtrans does.
        mends: Whether harm is made good instead of being an error.
    """

    make: Callable[[Path], None]
    spoil: Callable[[random.Random, Path], None]
    use: Callable[[Path], object]
    mends: bool = False


@dataclass(frozen=True)
class Verdicts:
    """What became of the cases of a victim."""

    worked: int
    refused: int
    problems: list[str]


def judge(find: Callable[[str], Victim], kind: str, seeds: list[str], folder: Path) -> Verdicts:
    """Let a victim read spoilt files, in processes of their own.

    Args:
        find: Gives the victim of a kind; a function of a module, as processes import it.
        kind: Which victim.
        seeds: Each gives one case.
        folder: For files.
    """
    results: dict[str, str] = {}
    deaths = 0
    while len(results) < len(seeds) and deaths < MOST_DEATHS:
        left = [seed for seed in seeds if seed not in results]
        report = folder / f"report-{len(results)}"
        process = processes.Process(target=_serve, args=(find, kind, left, folder, report))
        process.start()
        process.join(600)
        process.kill()
        process.join()
        results |= dict(map(json.loads, (report / "results").read_text().splitlines()))
        if process.exitcode:
            deaths += 1
            left = [seed for seed in left if seed not in results]
            trace = (report / "trace").read_text()[-3000:]
            results[left[0] if left else "start"] = f"died, code {process.exitcode}: {trace}"
    found = list(results.values())
    problems = [f"{kind} {seed}: {r}" for seed, r in results.items() if r not in ("", "refused")]
    return Verdicts(found.count(""), found.count("refused"), problems)


def _serve(
    find: Callable[[str], Victim], kind: str, seeds: list[str], folder: Path, report: Path
) -> None:
    report.mkdir()
    results = (report / "results").open("w", buffering=1)
    trace = (report / "trace").open("w", buffering=1)
    faulthandler.enable(trace)
    faulthandler.register(signal.SIGPROF, trace, chain=True)  # and then die of it
    torch.set_num_threads(1)
    victim = find(kind)
    sound = folder / "sound"
    if not sound.exists():
        sound.mkdir()
        victim.make(sound)
    _use(victim, shutil.copytree(sound, report / "warm"))  # imports take memory too
    _limit_memory()
    for seed in seeds:
        case = report / "case"
        shutil.copytree(sound, case, symlinks=True)
        victim.spoil(random.Random(f"{kind} {seed}"), case)  # noqa: S311 - not for secrets
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        said = _use(victim, case)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if (taken := _resident("VmHWM") - before) > MOST_MEMORY:
            said = f"took {taken / 1e9:.1f} GB"
        if (folder / "marker").exists():
            said = "ran code of the file"
            (folder / "marker").unlink()
        results.write(json.dumps([seed, said]) + "\n")
        shutil.rmtree(case)


def _use(victim: Victim, case: Path) -> str:
    """Nothing if it worked, ``refused`` for an error of ours, else what went wrong."""
    os.chdir(case)
    try:
        victim.use(case)
    except SeqtransError as error:
        said = str(error)
        whole = (said and said.isprintable()) or "\n" in said
        return (
            "refused"
            if whole and len(said) < LONGEST_MESSAGE
            else f"says {said[:300]!r} ({len(said)})"
        )
    except BaseException as error:
        frames = "".join(traceback.format_tb(error.__traceback__)[-6:])
        return f"{frames[-2000:]}{type(error).__name__}: {str(error)[:300]}"
    return ""


def _limit_memory() -> None:
    used = _resident("VmData")
    resource.setrlimit(resource.RLIMIT_DATA, (used + FUSE, used + FUSE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _resident(name: str) -> int:
    """Bytes of this process, as the kernel counts them under ``name``."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)
