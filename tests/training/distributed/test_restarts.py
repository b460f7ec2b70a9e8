"""Processes that are started again find each other, whatever the gone ones left in the store."""

import os
import random
import re
import threading
import time

import pytest
from torch.distributed import HashStore

from seqtrans.training.distributed.restarts import ONLY, is_owned_by, job, name_attempt, write_owner


@pytest.fixture
def elastic(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")


def names(store, world, chance):
    found = [""] * world

    def run(rank, late):
        time.sleep(late)
        found[rank] = name_attempt(store, rank, world, 60.0)

    threads = [threading.Thread(target=run, args=(r, chance.random() / 10)) for r in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.usefixtures("elastic")
def test_an_attempt_has_one_name_that_no_other_had():
    store, chance, earlier = HashStore(), random.Random(1), set()  # noqa: S311
    for world in (3, 3, 2, 4, 3):
        store.set("seqtrans/hello/1", "of one that was killed")
        first, *others = names(store, world, chance)
        assert others == [first] * (world - 1)
        assert first
        assert first not in earlier
        earlier.add(first)


@pytest.mark.usefixtures("elastic")
def test_those_that_never_come_are_named():
    store = HashStore()
    with pytest.raises(TimeoutError, match=r"^process 1 of 3 and process 2 of 3$"):
        name_attempt(store, 0, 3, 0.1)
    with pytest.raises(TimeoutError, match=r"^process 0 of 3$"):
        name_attempt(store, 2, 3, 0.1)


def test_where_nobody_restarts_there_is_one_attempt_and_no_job(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert name_attempt(None, 1, 2, 60.0) == ONLY
    assert job() == ""
    write_owner(tmp_path / "job", job())
    assert not (tmp_path / "job").exists()
    assert not is_owned_by(tmp_path / "job", "")


@pytest.mark.usefixtures("elastic")
def test_a_job_is_known_by_its_id_or_else_by_what_started_it(monkeypatch, tmp_path):
    unnamed = job()
    assert re.search(rf" {os.getppid()} (\S+ \d+)?$", unnamed)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "nightly")
    assert job() == "nightly"
    file = tmp_path / "job"
    write_owner(file, unnamed)
    assert [is_owned_by(file, name) for name in (unnamed, "nightly", "")] == [True, False, False]
    write_owner(file, "nightly")
    assert [is_owned_by(file, name) for name in (unnamed, "nightly", "")] == [False, True, False]
