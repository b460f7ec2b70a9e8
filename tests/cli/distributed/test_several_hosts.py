"""Several hosts train together; one dies and comes back; a cable is pulled."""

import os
import re
from pathlib import Path

import pytest
import torch

from tests.support.network_namespaces import Hosts, may_make_hosts, refusal
from tests.support.torchrun import (
    ELASTIC,
    Torchrun,
    last_step,
    tensors,
    train,
    wait_until,
    write_corpus,
)

pytestmark = pytest.mark.faults

REASON = refusal()
needs_hosts = pytest.mark.skipif(bool(REASON), reason=REASON)
QUICK = "read_timeout=20,last_call_timeout=1,keep_alive_interval=1,keep_alive_max_attempt=3"


def test_where_hosts_can_be_made_they_are():
    assert not (REASON and may_make_hosts()), REASON


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "r.yaml").write_text(ELASTIC)
    write_corpus(tmp_path)
    return tmp_path


def start(folder, hosts, number, *arguments, restarts=0):
    """Start the one process that a host gives to the run; the first host keeps the rendezvous."""
    options = ["--nnodes", str(hosts.count), "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    options += ["--rdzv-endpoint", f"{hosts.address(0)}:29400", "--rdzv-id", "tests"]
    options += ["--rdzv-conf", f"is_host={int(number == 0)},{QUICK}"]
    options += ["--local-addr", hosts.address(number), "--max-restarts", str(restarts)]
    arguments = ["--run", "run", *arguments]
    # By default no host can come back: https://github.com/pytorch/pytorch/issues/135712
    chosen = {"GLOO_SOCKET_IFNAME": "eth0", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return Torchrun(folder, options, arguments, hosts.within(number), **chosen)


@needs_hosts
def test_a_host_dies_and_comes_back_then_all_do_and_the_weights_are_as_ever(folder):
    train(folder, "--run", "alone")
    train(folder, "--run", "undisturbed", "--devices", 2)
    run = folder / "run"
    with Hosts(2) as hosts:
        jobs = [start(folder, hosts, number, restarts=2) for number in (0, 1)]
        try:
            wait_until(lambda: last_step(run) >= 11, *jobs)
            survivor = jobs[0].workers()
            jobs[1].end()
            wait_until(lambda: jobs[0].complaints, jobs[0])
            jobs[1] = start(folder, hosts, 1, restarts=2)
            wait_until(lambda: set(jobs[0].workers()) - set(survivor), *jobs)
            goal = last_step(run) + 9
            wait_until(lambda: last_step(run) >= goal, *jobs)
            said = jobs[0].complaints
            for job in jobs:
                job.end()
            jobs = [start(folder, hosts, number) for number in (0, 1)]
            assert [job.wait() for job in jobs] == [0, 0], [job.text for job in jobs]
        finally:
            for job in jobs:
                job.end()
    assert len(said) == 1, said
    assert re.search(r"step \d+.*: process 0 waited in vain for process 1 of 2;", said[0])
    found, expected, alone = (tensors(folder / n) for n in ("run", "undisturbed", "alone"))
    assert found.keys() == expected.keys() == alone.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    torch.testing.assert_close(found, alone, rtol=0.0, atol=1e-3)  # of fp32, added otherwise


@needs_hosts
def test_when_a_cable_is_pulled_all_ranks_end_and_each_side_with_one_message(folder):
    """What torchrun itself does on a host that is cut off is another matter: it waits longer."""
    patience = ("--set", "training.processes.timeout_seconds=5", "--set", "training.accumulate=3")
    patience += ("--set", "training.max_steps=90000")
    with Hosts(3) as hosts:
        jobs = [start(folder, hosts, number, *patience) for number in range(3)]
        try:
            wait_until(lambda: last_step(folder / "run") >= 5, *jobs)
            hosts.cut(2)
            wait_until(lambda: not any(job.workers() for job in jobs))
        finally:
            for job in jobs:
                job.end()
    together, (apart,) = [*jobs[0].complaints, *jobs[1].complaints], jobs[2].complaints
    (said,) = together
    waited = r"step \d+.*: process [01] waited .* for process 2 of 3; checkpoints are whole"
    assert re.search(waited, said), said
    assert re.search(r"step \d+.*: process 2 waited too long for process 0 of 3, with which", apart)


def test_no_host_is_left():
    assert not list(Path("/run/netns").glob(f"st{os.getpid()}-*"))
