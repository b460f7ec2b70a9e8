"""What to expect of several GPUs, calculated from stated assumptions; little here is measured.

    python tools/model_scaling.py [--processes 8] [--parameters 65e6] [--tokens 4096]

An update of N processes, each of which makes k micro-batches, takes

    k c + w + max(a - h, l) + 2 s

- c, compute: 6 FLOP a parameter and target token (2 forward, 4 backward, as many source tokens as
  target tokens; the table of embeddings counts once, as the output layer), at a share of the peak:
  9 % on an H100, for 12,000 targets took an H200 0.05 s, rounded (60.5 million parameters, bf16,
  torch 2.11; arithmetic is as fast on both); 20 % on an A100, which is assumed,
- w, waiting for the slowest process: micro-batches differ in time by a share d, so the slowest of N
  takes d e(N) c sqrt(k) longer than the mean, where e(N) is the expected maximum of N normal draws,
- a, all-reduce by a ring: 2 (N - 1) / N times the bytes of the gradient over the bandwidth of the
  slowest link, and 2 (N - 1) latencies for each bucket of 25 MB,
- h, what overlaps: the backward pass of the last micro-batch (2/3 of c) hides communication of
  gradients that are ready. On a CPU nothing is hidden: what communicates takes the same processors,
- l, what is ready last and can't be hidden: the table of embeddings, whose gradient the encoder
  completes at the very end,
- s, a sum of a few counts over gloo: of targets; of failures, and of wishes to stop.

``--check`` holds the model to what tools/benchmarks/scaling.py measured with two processes on a
CPU.
"""

import argparse
import math
import statistics
from dataclasses import dataclass, replace

BUCKET = 25 * 2**20
FLOP = 6.0
WIRES = (("fp32", 4), ("bf16", 2))


@dataclass(frozen=True)
class Machine:
    """Assumptions about processors and what joins them."""

    name: str
    flops: float  # dense bf16 peak a second
    bandwidth: float  # bytes a second, of each process in each direction, as all-reduce reaches it
    latency: float  # seconds a hop
    counting: float  # seconds of a sum of counts by gloo
    utilization: float  # share of the peak: products of 512 features do not fill a GPU


MACHINES = (
    Machine("H100, NVLink", 989e12, 360e9, 10e-6, 1e-4, 0.09),
    Machine("A100, NVLink", 312e12, 230e9, 10e-6, 1e-4, 0.2),
    Machine("A100, PCIe 4.0", 312e12, 20e9, 20e-6, 1e-4, 0.2),
    Machine("A100, one a machine, 25 Gb/s Ethernet", 312e12, 2.8e9, 50e-6, 5e-4, 0.2),
)


@dataclass(frozen=True)
class Job:
    """What is trained, and by how many."""

    processes: int
    parameters: float  # Transformer base (arXiv:1706.03762): 65 million
    table: float  # of those, in the one table of embeddings: 37,000 x 512
    tokens: float  # targets a micro-batch
    micro_batches: int  # of each process in an update
    wire: int  # bytes a number: 4, or 2 with communication: bf16
    spread: float  # standard deviation of the time of a micro-batch, as a share of its mean


@dataclass(frozen=True)
class Update:
    """Seconds of one update."""

    compute: float
    waiting: float
    all_reduce: float
    exposed: float
    counting: float

    @property
    def total(self) -> float:
        """All that follows one after the other."""
        return self.compute + self.waiting + self.exposed + self.counting

    @property
    def of_linear(self) -> float:
        """Speed over that of as many single processes."""
        return self.compute / self.total


def compute(job: Job, machine: Machine) -> float:
    """Seconds of one micro-batch."""
    return FLOP * job.parameters * job.tokens / (machine.flops * machine.utilization)


def update(job: Job, machine: Machine, *, overlap: bool = True) -> Update:
    """Seconds of one update, by what they go to."""
    one, number = compute(job, machine), job.micro_batches
    waiting = job.spread * slowest(job.processes) * one * math.sqrt(number)
    reduced = all_reduce(job, machine, job.parameters)
    last = all_reduce(job, machine, job.table)
    hidden = one * 2 / 3 if overlap else 0.0
    exposed = max(reduced - hidden, last) if overlap else reduced
    return Update(one * number, waiting, reduced, exposed, 2 * machine.counting)


def all_reduce(job: Job, machine: Machine, numbers: float) -> float:
    """Seconds to sum so many numbers over all processes."""
    size, hops = numbers * job.wire, 2 * (job.processes - 1)
    travel = hops / job.processes * size / machine.bandwidth
    return travel + hops * machine.latency * math.ceil(size / BUCKET)


def slowest(count: int) -> float:
    """Expected maximum of so many standard normal draws, numerically."""
    normal, width = statistics.NormalDist(), 1e-3
    points = [width * n for n in range(-8000, 8001)]
    return sum(x * count * normal.cdf(x) ** (count - 1) * normal.pdf(x) * width for x in points)


def check() -> None:
    """Calibrate on one measured case of two CPU processes, and predict another."""
    # One process, micro-batches of 4,096 tokens; see docs/benchmarks.md.
    speed, waiting, communication = 20_066.0, 0.048, 0.052
    measured = {4096: 0.878, 1024: 0.743}
    targets = 4096 * (1 - 0.038)  # without padding
    wall = targets / (speed * measured[4096])
    spread = waiting * wall / (slowest(2) * targets / speed)
    bytes_ = 1.8e6 * 4  # of the demo's gradient
    cpu = Machine("CPU", FLOP * 1.8e6 * speed, bytes_ / (communication * wall), 0.0, 0.0, 1.0)
    print(f"spread {spread:.3f}, bandwidth {cpu.bandwidth / 1e9:.2f} GB/s (both from 4,096 tokens)")
    for tokens, found in measured.items():
        job = Job(2, 1.8e6, 0.0, tokens * (1 - 0.038), 1, 4, spread)
        expected = update(job, cpu, overlap=False).of_linear
        print(f"{tokens:,} tokens: model {expected:.1%} of linear, measured {found:.1%}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What to expect of several GPUs.")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--parameters", type=float, default=65e6)
    parser.add_argument("--table", type=float, default=37_000 * 512)
    parser.add_argument("--tokens", type=float, default=4096)
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--spread", type=float, default=0.08)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    if asked.check:
        check()
        return
    job = Job(asked.processes, asked.parameters, asked.table, asked.tokens, 1, 4, asked.spread)
    kinds = [(number, *wire) for number in asked.micro_batches for wire in WIRES]
    names = [f"of linear: {number} x, {name}" for number, name, _ in kinds]
    heads = ("machine", "compute", "all-reduce", "one GPU, targets/s", *names)
    print(f"| {' | '.join(heads)} |")
    print(f"| --- |{' --: |' * (len(heads) - 1)}")
    for machine in MACHINES:
        one = update(job, machine)
        cells = [f"{1e3 * one.compute:.1f} ms", f"{1e3 * one.all_reduce:.1f} ms"]
        cells.append(f"{asked.tokens / one.compute:,.0f}")
        for number, _, wire in kinds:
            found = update(replace(job, micro_batches=number, wire=wire), machine)
            cells.append(f"{found.of_linear:.0%}")
        print(f"| {machine.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
