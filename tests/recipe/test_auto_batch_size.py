"""``auto``: the largest batch that fits, the same on all processes, kept as a number."""

import itertools
import logging
import resource
import sys
from dataclasses import replace

import pytest
import torch

from seqtrans import config
from seqtrans.errors import RecipeError
from seqtrans.recipe.load import load_recipe, prepare, stored_recipe
from seqtrans.runtime import memory as largest
from seqtrans.runtime.memory import largest_that_fits, peak_memory
from seqtrans.training import auto_batch_size as measuring
from seqtrans.training.auto_batch_size import with_resolved_sizes_of
from seqtrans.training.checkpoints.run_directory import create
from tests.support.prepared_recipe import folder, recipe, run  # noqa: F401 - fixtures
from tests.support.shape_images import write_shapes
from tests.support.threads_as_processes import together

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("fitting", [*range(255, 5000, 331), 256, 1024, 4096, 10**6])
def test_it_fits_is_close_to_the_most_and_within_bounds(fitting):
    tried = []

    def fits(size):
        tried.append(size)
        return size <= fitting

    found = largest_that_fits(fits, 256, 4096, GPU)
    assert 256 <= found <= 4096
    assert found <= max(fitting, 256)
    assert found >= min(fitting, 4096) * 0.69  # a step of a quarter, and an eighth to spare
    assert len(tried) <= 9
    assert (found == 4096) == (fitting >= 4096)


def test_on_a_cpu_what_memory_will_not_do_for_is_not_tried(monkeypatch):
    """Each unit takes 1 MB; 1,000 MB are there, of which 100 are reserved and 180 left alone.

    There were 600 MB more before, as of the training of a vocabulary.
    """
    held, peak, tried = 50_000_000, [650_000_000], []
    monkeypatch.setattr(largest, "recent_peak", lambda: peak[0])
    monkeypatch.setattr(largest, "restart_peak", lambda: peak.__setitem__(0, held))
    monkeypatch.setattr(largest, "available_memory", lambda: 1_000_000_000)

    def fits(size):
        tried.append(size)
        peak[0] = max(peak[0], held + size * 1_000_000)
        return True

    found = largest_that_fits(fits, 16, 4096, CPU, reserved=100_000_000)
    assert max(tried) <= 720
    assert 512 * 7 // 8 <= found <= 720


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak so far can't be forgotten")
def test_an_earlier_peak_hides_nothing_and_is_still_told(monkeypatch):
    """Each unit takes 100 kB indeed; 100 MB are said to be there, and 300 MB were held before."""
    monkeypatch.setattr(largest, "available_memory", lambda: 100_000_000)
    held = bytearray(b"x" * 300_000_000)
    before = peak_memory()
    del held
    tried = []

    def fits(size):
        tried.append(size)
        return bool(torch.ones(size * 25_000).sum())

    assert 150 <= largest_that_fits(fits, 16, 4096, CPU) <= 800
    assert max(tried) <= 900
    assert peak_memory() >= 0.99 * before  # the kernel counts roughly


def test_available_memory_heeds_limits_and_other_processes(monkeypatch):
    everything = largest.available_memory()
    assert 0 < everything < 1 << 50
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert largest.available_memory() == pytest.approx(everything / 2, rel=0.3)
    assert largest.available_memory(shared=False) == pytest.approx(everything, rel=0.3)
    limits = {resource.RLIMIT_AS: (1 << 62, 1 << 62), resource.RLIMIT_DATA: (0, -1)}
    monkeypatch.setattr(largest.resource, "getrlimit", limits.__getitem__)
    assert largest.available_memory() == 0
    pages = "/proc/self/statm", "900 90 50 0 0 100 0"
    monkeypatch.setattr(largest, "_read", lambda path, no: dict([pages]).get(str(path), no))
    limits[resource.RLIMIT_DATA] = (300 * resource.getpagesize(), -1)  # of each process
    assert largest.available_memory() == 200 * resource.getpagesize()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/memory.max": "5000\n"}, 5000),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "7000\n"}, 7000),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({}, None),
    ],
)
def test_the_cap_of_a_container_becomes_one_that_allocations_heed(monkeypatch, files, expected):
    monkeypatch.setattr(largest, "_read", lambda path, otherwise: files.get(str(path), otherwise))
    set_to = []
    monkeypatch.setattr(largest.resource, "getrlimit", lambda _: (-1, -1))
    monkeypatch.setattr(largest.resource, "setrlimit", lambda *given: set_to.append(given))
    assert largest.memory_cap() == expected
    largest.limit_memory_to_cgroup()
    assert set_to == ([(resource.RLIMIT_DATA, (expected, -1))] if expected else [])


def test_a_lower_limit_stays_and_a_higher_one_does_not(monkeypatch):
    set_to, limits = [], [(4000, 9000)]
    monkeypatch.setattr(largest, "memory_cap", lambda: 5000)
    monkeypatch.setattr(largest.resource, "getrlimit", lambda _: limits[0])
    monkeypatch.setattr(largest.resource, "setrlimit", lambda *given: set_to.append(given))
    largest.limit_memory_to_cgroup()
    assert not set_to
    largest.limit_memory_to_cgroup(
        3000
    )  # a worker's, whose driver has set the limit that it inherits
    limits[0] = (6000, 9000)
    largest.limit_memory_to_cgroup()
    assert set_to == [(resource.RLIMIT_DATA, (3000, 9000)), (resource.RLIMIT_DATA, (5000, 9000))]


def test_workers_share_what_those_who_start_them_leave(monkeypatch):
    page = resource.getpagesize()
    files = {
        "/proc/self/cgroup": "0::/\n",
        "/sys/fs/cgroup/memory.max": f"{1000 * page}\n",
        "/proc/self/statm": "900 150 50 0 0 100 0",
    }
    monkeypatch.setattr(largest, "_read", lambda path, otherwise: files.get(str(path), otherwise))
    assert largest.share_of_cap(3) == 300 * page
    assert largest.share_of_cap(4, starters=4) == 150 * page
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert largest.share_of_cap(3) is None


def opened(recipe):  # noqa: F811
    return replace(
        recipe,
        data=replace(recipe.data, batch_tokens="auto"),
        validation=replace(
            recipe.validation,
            decoding=replace(recipe.validation.decoding, batch_tokens="auto", max_length=20),
        ),
        decoding=replace(recipe.decoding, batch_tokens="auto", max_source_tokens=30, max_length=20),
    )


def sizes_in(recipe):  # noqa: F811
    decodings = recipe.validation.decoding, recipe.decoding
    return [recipe.data.batch_tokens, *(decoding.batch_tokens for decoding in decodings)]


def test_auto_is_measured_and_stored(recipe, run, caplog):  # noqa: F811
    caplog.set_level(logging.INFO, "seqtrans")
    prepared = prepare(opened(recipe), run)
    stored = stored_recipe(run)
    assert sizes_in(stored) == [256, 256, 4096]  # so little text; decoding does not know its own
    assert "data.batch_tokens: auto: 256" in caplog.text
    assert " decoding.batch_tokens: auto: 4,096" in caplog.text
    assert prepared.task.batch_tokens == 256
    assert prepared.task.validation.decoding.batch_tokens == 256
    assert all(p.grad is None for p in prepared.model.parameters())
    assert with_resolved_sizes_of(opened(recipe), stored) == stored
    assert with_resolved_sizes_of(recipe, stored) == recipe
    again = prepare(stored, run)
    assert again.task.batch_tokens == 256
    for name, tensor in again.model.state_dict().items():  # measuring has drawn nothing
        assert torch.equal(prepared.model.state_dict()[name], tensor), name


def test_all_processes_take_the_least_of_what_they_find(recipe, run, monkeypatch):  # noqa: F811
    found = itertools.count(300, 100)
    monkeypatch.setattr(
        "seqtrans.translation.recipe.auto_batch_size.largest_search", lambda *_: next(found)
    )
    monkeypatch.setattr(
        "seqtrans.translation.recipe.auto_batch_size.largest_training", lambda *_, **__: next(found)
    )
    several = opened(replace(recipe, training=replace(recipe.training, accumulate=2)))
    config.dump(several)
    prepared = together(2, lambda group: prepare(several, run, group))
    stored = sizes_in(stored_recipe(run))
    assert stored[1] == 300
    assert stored == sorted(set(stored), key=stored.index)
    for one in prepared:
        assert [one.task.batch_tokens, one.task.validation.decoding.batch_tokens] == [
            stored[0],
            stored[1],
        ]


IMAGES = """
task: classification
data:
  train: {kind: npz, path: train.npz}
  validation: {kind: fraction, fraction: 0.2}
  batch_size: auto
model: {kind: mlp, widths: [8]}
training: {max_steps: 2, stopping: {metric: accuracy}}
"""


def test_images_have_it_too(tmp_path, monkeypatch):
    write_shapes(tmp_path / "train.npz", 90, seed=1)
    (tmp_path / "r.yaml").write_text(IMAGES)
    chosen = load_recipe(tmp_path / "r.yaml")
    run = create(tmp_path / "run", config.dump(chosen))  # noqa: F811
    assert prepare(chosen, run).task.train.batch_size == 32
    assert stored_recipe(run).data.batch_size == 32
    monkeypatch.setattr(measuring, "_UPDATES", 1)
    run = create(tmp_path / "other", config.dump(chosen))
    assert prepare(chosen, run).task.train.batch_size == 72


@pytest.mark.parametrize("wrong", ["0", "automatic", "1.5", "null", "[auto]"])
def test_other_words_are_refused_with_what_is_allowed(folder, wrong):  # noqa: F811
    (folder / "r.yaml").write_text(IMAGES.replace("auto", wrong))
    with pytest.raises(
        RecipeError, match=r"data\.batch_size must be a whole number of 1 or more, or 'auto'"
    ):
        load_recipe(folder / "r.yaml")
