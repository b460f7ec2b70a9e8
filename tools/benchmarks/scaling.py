"""How much faster several processes train than one, and where the rest of the time goes.

    python tools/benchmarks/scaling.py [RECIPE] [--set KEY=VALUE ...] [--processes 1 2] [--rounds 9]

Micro-batches are of 4,096 tokens, and eight of them an update for each of the most processes: with
two, at most 65,536 tokens of either language. ``--set data.batch_tokens`` and ``--set
training.accumulate`` say otherwise: the smaller an update, the larger the share of communication,
which depends on the size of the model alone, and of waiting, as the times of few micro-batches even
out less (arXiv:1806.00187). The corpus is given ``--copies`` times, so that no epoch ends while
updates are timed: the last update of one is short, and may not be shareable evenly. With more of
``--updates`` take more copies.

The numbers of processes take turns, each process with one thread of this machine, in every other
round the other way round; "of linear" is the median over the rounds of what each found. All make
the same updates, so that twice the processes should need half the time. "Apart" are as many
processes that know nothing of each other, each of which makes all updates: what they lack to linear
is the machine's, whose busy cores share caches, memory and heat. Shares are of the wall time of all
processes:

- padding: of all positions of the batches that are no targets,
- waiting: a process has done its part of an update and another has not,
- communication: the slowest process of an update is not computing either; on one machine that
  includes what gloo's own threads add up, for they take the processors from it.

A process computes while the thread that runs forward and backward passes is on a processor.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

RECIPE = Path(__file__).parents[2] / "recipes/translation/smart-home-en-de.yaml"


class Lap(NamedTuple):
    """One update in one process."""

    seconds: float
    busy: float  # seconds of them on a processor
    targets: int
    padded: int


class Way(NamedTuple):
    """How many processes train; apart: each by itself, all at the same time."""

    processes: int
    apart: bool

    def __str__(self) -> str:
        return f"{self.processes} apart" if self.apart else str(self.processes)


class Round(NamedTuple):
    """Target tokens a second of all processes, and shares of the time."""

    speed: float
    padding: float
    waiting: float
    communication: float


def main() -> None:
    """Measure, and print a table; or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(
        description="How much faster several processes train than one."
    )
    parser.add_argument("recipe", type=Path, nargs="?", default=RECIPE)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--laps", type=Path, help=argparse.SUPPRESS)  # where a process writes
    asked = parser.parse_args()
    if asked.laps:
        asked.laps.write_text(json.dumps(laps(asked)))
        return
    ways = [Way(world, apart=False) for world in asked.processes]
    if max(asked.processes) > 1:
        ways.append(Way(max(asked.processes), apart=True))
    found: dict[Way, list[Round]] = {way: [] for way in ways}
    for number in range(asked.rounds):
        for way in reversed(ways) if number % 2 else ways:
            found[way].append(measured(way))
            speed = found[way][-1].speed
            sys.stderr.write(f"round {number + 1}: {way}: {speed:,.0f} targets/s\n")
    print_table(found)


def measured(way: Way) -> Round:
    """One round."""
    processes = run(way)
    if not way.apart:
        return summary(processes)
    alone = [summary([laps]) for laps in processes]
    return alone[0]._replace(speed=sum(one.speed for one in alone))


def run(way: Way) -> list[list[Lap]]:
    """Train in so many processes; the laps of each."""
    world, joined = way.processes, 1 if way.apart else way.processes
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        started, files = [], [Path(folder) / f"{rank}.json" for rank in range(world)]
        for rank, file in enumerate(files):
            place = {"RANK": rank, "WORLD_SIZE": joined, "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
            environment = {name: str(value) for name, value in place.items()}
            environment = os.environ | environment | {"MASTER_ADDR": "127.0.0.1"}
            command = [sys.executable, *sys.argv, "--laps", str(file)]
            started.append(subprocess.Popen(command, env=environment))
        if any([process.wait() for process in started]):  # noqa: C419 - wait for all
            raise SystemExit("a process failed")
        return [[Lap(*lap) for lap in json.loads(file.read_text())] for file in files]


def laps(asked: argparse.Namespace) -> list[Lap]:
    """In one of the processes: the updates after the first few."""
    from seqtrans import config
    from seqtrans.recipe.load import load_recipe, prepare
    from seqtrans.training.checkpoints.run_directory import create, open_run
    from seqtrans.training.distributed.process_group import leave
    from seqtrans.training.distributed.rendezvous import connect
    from seqtrans.training.trainer import Trainer

    processes = connect()
    settings = {
        "data.batch_tokens": 4096,
        "training.accumulate": 8 * max(asked.processes),
        "training.schedule": "{kind: constant}",
        "training.max_steps": asked.warmup + asked.updates,
        "training.max_minutes": "null",
        "training.validate_every_steps": 10**9,
        "training.stopping.metric": "perplexity",
        "validation.metrics": "[]",
        "training.processes.timeout_seconds": 600,
    }
    given = [f"{key}={value}" for key, value in settings.items()] + asked.set
    recipe = load_recipe(asked.recipe, given)
    recipe = replace(recipe, data=replace(recipe.data, train=recipe.data.train * asked.copies))
    with tempfile.TemporaryDirectory() as folder:
        run = processes.once(  # one for all
            "run", lambda: str(create(Path(folder) / "run", config.dump(recipe)).path)
        )
        prepared = prepare(recipe, open_run(Path(run)), processes)
        group = prepared.group
        trainer = Trainer(prepared.task, prepared.model, recipe.training, group=group)
        found = timed(trainer)
        trainer.fit()
        group.sum([0.0])  # nobody removes the folder before all are done
    leave()
    return found[asked.warmup :]


def timed(trainer: Any) -> list[Lap]:
    """A list to which every update of ``trainer`` adds a lap."""
    found, update = list[Lap](), trainer.update

    def timed_update(micro_batches: Sequence[Any]) -> None:
        began, busy = time.monotonic(), time.thread_time()
        update(micro_batches)
        targets = sum(batch.num_targets for batch in micro_batches)
        padded = sum(batch.num_padded for batch in micro_batches)
        spent = time.monotonic() - began
        found.append(Lap(spent, time.thread_time() - busy, targets, padded))

    trainer.update = timed_update
    return found


def summary(processes: list[list[Lap]]) -> Round:
    """Targets per second of all, and shares of the time."""
    updates = list(zip(*processes, strict=True))
    wall = sum(max(lap.seconds for lap in update) for update in updates)
    slowest = sum(max(lap.busy for lap in update) for update in updates)
    busy = sum(lap.busy for update in updates for lap in update) / len(processes)
    targets = sum(lap.targets for update in updates for lap in update)
    padded = sum(lap.padded for update in updates for lap in update)
    return Round(
        targets / wall,
        padded / (targets + padded),
        (slowest - busy) / wall,
        max(0.0, wall - slowest) / wall,
    )


def print_table(found: dict[Way, list[Round]]) -> None:
    """Medians over the rounds, and ranges of the speeds and of their shares of linear."""
    first = min(found)
    print("| processes | target tokens/s | of linear | padding | waiting | communication |")
    print("| --: | --: | --: | --: | --: | --: |")
    for way, rows in found.items():
        speeds, *shares = zip(*rows, strict=True)
        times = way.processes / first.processes
        linear = [times * one.speed for one in found[first]]
        reached = [speed / full for speed, full in zip(speeds, linear, strict=True)]
        parts = [
            f"{statistics.median(speeds):,.0f} ({min(speeds):,.0f} to {max(speeds):,.0f})",
            f"{statistics.median(reached):.1%} ({min(reached):.1%} to {max(reached):.1%})",
            *(f"{statistics.median(share):.1%}" for share in shares),
        ]
        print(f"| {way} | {' | '.join(parts)} |")


if __name__ == "__main__":
    main()
