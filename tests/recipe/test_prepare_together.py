"""Processes that prepare together: each has its data before they join, read once per machine."""

import os
from dataclasses import replace
from unittest import mock

from seqtrans.recipe.load import prepare
from seqtrans.training.checkpoints.run_directory import RunDirectory
from seqtrans.translation.data import cache
from tests.support.prepared_recipe import folder, recipe, run  # noqa: F401 - fixtures
from tests.support.processes import meet


def _prepare(processes, folder, recipe, local_ranks, caches):  # noqa: F811
    """Say how often this process hashed a file of text, checked a corpus, or made one."""
    os.environ["LOCAL_RANK"] = str(local_ranks[processes.rank])
    data = replace(recipe.data, cache=folder / caches[processes.rank])
    several = replace(recipe, data=data)
    digest = mock.Mock(wraps=cache.hashlib.file_digest)
    check, encode = mock.Mock(wraps=cache.check_corpus), mock.Mock(wraps=cache.encode_corpus)
    with (
        mock.patch.object(cache.hashlib, "file_digest", digest),
        mock.patch.object(cache, "check_corpus", check),
        mock.patch.object(cache, "encode_corpus", encode),
    ):
        prepared = prepare(several, RunDirectory(folder / "runs" / "x"), processes)
    assert (len(prepared.task.train), len(prepared.task.validation.corpus)) == (3, 2)
    calls = (digest.call_count, check.call_count > 0, encode.call_count)
    (folder / f"did-{processes.rank}").write_text(" ".join(map(str, map(int, calls))))


def _did(folder, *arguments):  # noqa: F811
    (folder / "rendezvous").unlink(missing_ok=True)
    assert meet(_prepare, folder, 2, *arguments, joined=False) == [0, 0]
    return [(folder / f"did-{rank}").read_text() for rank in (0, 1)]


def test_of_each_machine_one_process_reads_hashes_and_checks_the_text(folder, recipe, run):  # noqa: F811
    assert run.path == folder / "runs" / "x"
    shared = ("cache", "cache")
    assert _did(folder, recipe, (0, 1), shared) == ["4 1 2", "0 0 0"]
    assert _did(folder, recipe, (0, 1), shared) == ["4 1 0", "0 0 0"]
    # On two machines each checks, and makes what it lacks.
    assert _did(folder, recipe, (0, 0), shared) == ["4 1 0", "4 1 0"]
    assert _did(folder, recipe, (0, 0), ("cache", "other")) == ["4 1 0", "4 1 2"]


def test_machines_of_one_name_need_not_share_a_disk(folder, recipe, run):  # noqa: F811
    assert run.path == folder / "runs" / "x"
    assert _did(folder, recipe, (0, 1), ("cache", "other")) == ["4 1 2", "4 1 2"]
