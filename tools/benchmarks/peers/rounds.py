"""Runs drivers in turn, never two at a time, and sums their reports up in a Markdown table."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from contract import SHAPES
from shared_corpus import CorpusSettings

DRIVERS = Path(__file__).parent
DATA = DRIVERS.parents[2] / "data" / "smart-home-en-de"
OURS = "seqtrans"

Unit = Literal["targets", "sentences"]


@dataclass(frozen=True)
class Entrant:
    """One line of the table: a system and what it is to do."""

    system: str  # seqtrans, joey or fairseq
    python: str  # interpreter of its environment
    shape: str
    precision: str
    label: str  # the system's name, and what is special about this entrant
    told: tuple[str, ...] = ()  # further arguments of the driver


@dataclass
class Results:
    """What the rounds of an entrant gave."""

    entrant: Entrant
    reports: list[dict[str, Any]] = field(default_factory=list)

    def rates(self, unit: Unit) -> list[float]:
        """Target tokens or sentences a second, one number a round."""
        return [sum(report[unit]) / sum(report["seconds"]) for report in self.reports]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that both benchmarks have."""
    parser.add_argument("--joey-python", default=os.environ.get("JOEY_PYTHON"))
    parser.add_argument("--fairseq-python", default=os.environ.get("FAIRSEQ_PYTHON"))
    for split in ("train", "test"):
        files = [str(DATA / f"{split}.{language}") for language in ("en", "de")]
        parser.add_argument(f"--{split}", nargs=2, default=files, metavar=("SOURCE", "TARGET"))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"])
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--batch-tokens", type=int, default=4096, help="of training batches")
    parser.add_argument("--decode-tokens", type=int, default=2048, help="of decoding batches")
    parser.add_argument("--test-lines", type=int, default=1000, help="decode so many at most")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="scratch folder")
    parser.add_argument("--json", type=Path, help="write every report there as well")
    parser.set_defaults(precisions=["fp32", "bf16"])


def corpus_settings(arguments: argparse.Namespace) -> CorpusSettings:
    """What the options say about the corpus."""
    return CorpusSettings(
        train=tuple(arguments.train),
        test=tuple(arguments.test),
        vocabulary=arguments.vocabulary,
        batch_tokens=arguments.batch_tokens,
        decode_tokens=arguments.decode_tokens,
        most_test=arguments.test_lines,
    )


def pythons(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Every system that can run here and its interpreter."""
    yield OURS, sys.executable
    for system, python in (("joey", arguments.joey_python), ("fairseq", arguments.fairseq_python)):
        if python:
            yield system, python
        else:
            print(f"{system} is left out: no --{system}-python", file=sys.stderr)


def can_run(system: str, shape: str, precision: str) -> bool:
    """Whether a system has a model and an arithmetic; of fairseq 0.12 each wants for something.

    Its recurrent decoder always feeds its input, and ``--bf16`` without a GPU means a TPU.
    """
    return system != "fairseq" or (precision == "fp32" and shape != "lstm")


def run(entrant: Entrant, action: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Run a driver once; None if it failed, with the end of what it said on stderr."""
    report, log = arguments.work / "report.json", arguments.work / f"{entrant.system}.log"
    report.unlink(missing_ok=True)
    command = [
        entrant.python,
        "-W",
        "ignore",
        str(DRIVERS / f"{entrant.system}_driver.py"),
        action,
    ]
    command += ["--corpus", str(arguments.work / "corpus"), "--report", str(report)]
    command += ["--shape", entrant.shape, "--precision", entrant.precision]
    command += ["--threads", str(arguments.threads), *entrant.told]
    command += ["--batch-tokens", str(arguments.batch_tokens)]
    command += ["--decode-tokens", str(arguments.decode_tokens)]
    with log.open("w", encoding="utf-8") as file:
        code = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code == 0:
        return json.loads(report.read_text())
    print("".join(log.read_text(encoding="utf-8").splitlines(keepends=True)[-5:]), file=sys.stderr)
    print(f"{entrant.label}, {entrant.shape}, {entrant.precision}: failed", file=sys.stderr)
    return None


def run_rounds(
    entrants: Sequence[Entrant], action: str, arguments: argparse.Namespace
) -> list[Results]:
    """Let every entrant train or decode once a round; see ``take_turns``."""
    return take_turns(
        entrants,
        arguments,
        lambda entrant, _: run(entrant, action, arguments),
        lambda result: f"{result.rates('targets')[-1]:,.0f} tokens/s",
    )


def take_turns(
    entrants: Sequence[Entrant],
    arguments: argparse.Namespace,
    run: Callable[[Entrant, int], dict[str, Any] | None],
    shown: Callable[[Results], str],
) -> list[Results]:
    """Let every entrant run once a round, so that what slows the machine down meets them all.

    Args:
        entrants: Who runs, in this order.
        arguments: ``rounds``, and ``json``: where all reports go after every run, if anywhere.
        run: Runs an entrant in a round, counted from 1; None if that failed.
        shown: What is printed of the last report of an entrant.

    Returns:
        The reports of entrants that have any.
    """
    results = [Results(entrant) for entrant in entrants]
    for number in range(1, arguments.rounds + 1):
        for result in results:
            entrant = result.entrant
            report = run(entrant, number)
            if report is None:
                continue
            result.reports.append(report)
            said = f"{entrant.shape}, {entrant.precision}, {entrant.label}: {shown(result)}"
            print(f"round {number}: {said}", file=sys.stderr)
            if arguments.json:
                reports = [report for other in results for report in other.reports]
                arguments.json.write_text(json.dumps(reports, indent=1))
    return [result for result in results if result.reports]


def table(results: Sequence[Results], unit: Unit) -> str:
    """A Markdown table: medians over rounds, range, and how it compares with the best peer.

    The best peer of a shape is the fastest line of another system, whatever its precision.
    """
    title = {"targets": "target tokens/s", "sentences": "sentences/s"}[unit]
    header = ("model", "precision", "system", title, "range", "x best peer", "tokens/sentence")
    rows = [header, ("---",) * 3 + ("--:",) * 4]
    rows += [_row(result, results, unit) for result in results]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(result: Results, results: Sequence[Results], unit: Unit) -> tuple[str, ...]:
    entrant, rates = result.entrant, result.rates(unit)
    peers = [
        statistics.median(other.rates(unit))
        for other in results
        if other.entrant.shape == entrant.shape and other.entrant.system != OURS
    ]
    rate, report = statistics.median(rates), result.reports[0]
    return (
        entrant.shape,
        entrant.precision,
        entrant.label,
        _rounded(rate),
        f"{_rounded(min(rates))} to {_rounded(max(rates))}",
        f"{rate / max(peers):.2f}" if peers else "",
        f"{sum(report['targets']) / sum(report['sentences']):.1f}",
    )


def _rounded(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:,.1f}"


def product_shares(results: Sequence[Results]) -> str:
    """Return what share of the processor's rate of matrix products every training reaches.

    The rate is that of the products of seqtrans's own updates, alone, by shape and precision. They
    are counted from all, whatever a peer computes for the same target tokens.
    """
    lines: list[str] = []
    for ours in results:
        entrant, first = ours.entrant, ours.reports[0]
        if entrant.system != OURS or "flop_per_target" not in first:
            continue
        flop = first["flop_per_target"]
        peak = statistics.median(report["peak_flop_per_second"] for report in ours.reports)
        alike = [
            other
            for other in results
            if (other.entrant.shape, other.entrant.precision) == (entrant.shape, entrant.precision)
        ]
        shares = ", ".join(
            f"{other.entrant.label} {statistics.median(other.rates('targets')) * flop / peak:.0%}"
            for other in alike
        )
        lines.append(
            f"- {entrant.shape}, {entrant.precision}: {flop / 1e6:.1f} MFLOP of products a target "
            f"token; these alone run at {peak / 1e9:.0f} GFLOP/s. Share: {shares}"
        )
    return "\n".join(lines)


def conditions(results: Sequence[Results], arguments: argparse.Namespace) -> str:
    """On what, and with what, the numbers were measured."""
    reports = [report for result in results for report in result.reports]
    versions = sorted({(r["system"], r["version"], r["torch"]) for r in reports})
    systems = "; ".join(f"{name} {number} (torch {torch})" for name, number, torch in versions)
    source = Path(arguments.train[0])
    return (
        f"{processor()}, {arguments.threads} threads; {arguments.rounds} rounds, interleaved; "
        f"{systems}; corpus {source.parent.name}/{source.name}, "
        f"{arguments.vocabulary:,} joint BPE pieces"
    )


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
