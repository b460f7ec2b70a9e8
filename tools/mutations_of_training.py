"""The mistakes that ``mutants.py`` makes in training, and the tests that ought to notice them."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A mistake, and where a test should notice it."""

    what: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


SHORTAGE, UPDATING = "seqtrans/training/oom.py", "seqtrans/training/train_step.py"
SHORT = ("tests/training/test_oom.py",)
UPDATES = ("tests/training/test_micro_batches.py", "tests/training/test_trainer.py")
TUNING = ("tests/training/optim/test_freezing.py",)
IMAGE_RUNS = ("tests/learning/test_image_runs.py",)
AUTO = ("tests/cli/test_memory_cap.py::test_auto_finds_what_fits",)
KILLED = ("tests/training/checkpoints/test_kill_points.py",)

IN_TRAINING = (
    Mutant(
        "a failed attempt's gradients are kept",
        SHORTAGE,
        "self.gradients.drop()",
        "pass",
        SHORT,
    ),
    Mutant(
        "what a failed attempt did to buffers is kept",
        SHORTAGE,
        "self.buffers.restore()",
        "pass",
        SHORT,
    ),
    Mutant(
        "who ran out of memory lets the others wait",
        "seqtrans/training/distributed/gradient_sync.py",
        "self.average(bucket)",
        "pass",
        SHORT,
    ),
    Mutant(
        "who runs out of memory before a forward pass lets the others wait",
        "seqtrans/training/distributed/wrappers.py",
        "    parallel.broadcast_buffers = False\n",
        "",
        SHORT,
    ),
    Mutant(
        "what was learnt of memory counts from the start",
        "seqtrans/training/oom.py",
        "if limit.after_step <= step]",
        "]",
        SHORT,
    ),
    Mutant(
        "what was learnt of memory is lost with the process",
        SHORTAGE,
        "self.sizes.write()",
        "pass",
        SHORT,
    ),
    Mutant(
        "what was searched before memory ran out is kept",
        "seqtrans/runtime/out_of_memory.py",
        "reversed(parts)",
        "parts",
        ("tests/contracts/test_out_of_memory.py",),
    ),
    Mutant(
        "auto does not try what it learns from",
        "seqtrans/training/preflight.py",
        "_fits(task, model, config, task.largest_batch()) is not None",
        "True",
        AUTO,
    ),
    Mutant(
        "auto does not try what it searches",
        "seqtrans/translation/recipe/auto_batch_size.py",
        "search(model, source.to(device), inputs)",
        "[]",
        AUTO,
    ),
    Mutant(
        "auto takes what it could not learn from",
        "seqtrans/training/preflight.py",
        "_fits(task, model, config, task.largest_batch()) is not None",
        "bool([_fits(task, model, config, task.largest_batch())])",
        ("tests/contracts/test_out_of_memory.py",),
    ),
    Mutant(
        "auto takes what it could not search",
        "seqtrans/translation/recipe/auto_batch_size.py",
        "return False",
        "return True",
        ("tests/contracts/test_out_of_memory.py",),
    ),
    Mutant(
        "an earlier peak of memory hides what a size takes",
        "seqtrans/runtime/memory.py",
        "            restart_peak()\n",
        "",
        ("tests/recipe/test_auto_batch_size.py",),
    ),
    Mutant(
        "metrics after the checkpoint are kept",
        "seqtrans/training/checkpoints/run_directory.py",
        "if _step_of(line) <= step]",
        "if line]",
        KILLED,
    ),
    Mutant(
        "what a killed save left is kept",
        "seqtrans/training/checkpoints/run_directory.py",
        "shutil.rmtree(leftover, ignore_errors=True)",
        "pass",
        KILLED,
    ),
    Mutant(
        "files are written in place",
        "seqtrans/runtime/files/atomic_files.py",
        'path.with_name(f".{_stem(path)}.{_host()}.{uuid4().hex[:12]}{PARTIAL}")',
        "path",
        KILLED,
    ),
    Mutant(
        "world size forgotten",
        UPDATING,
        "self.group.world_size / num_targets",
        "1.0 / num_targets",
        UPDATES,
    ),
    Mutant(
        "means of means",
        UPDATING,
        "self.group.world_size / num_targets",
        "1.0 / sum(one.batch.num_targets for one in parts)",
        UPDATES,
    ),
    Mutant(
        "dropout the same at every step",
        UPDATING,
        "self._seeds[step, i * self.group.world_size + self.group.rank, j]",
        "self._seeds[0, i * self.group.world_size + self.group.rank, j]",
        UPDATES,
    ),
    Mutant(
        "a non-finite loss let through",
        "seqtrans/training/train_step.py",
        "if not all(map(math.isfinite, (*losses, norm))):",
        "if False:",
        UPDATES,
    ),
    Mutant(
        "what is thawed stays frozen",
        "seqtrans/training/train_step.py",
        "self.freezing.enter(epoch)",
        "self.freezing.enter(0)",
        TUNING,
    ),
    Mutant(
        "statistics of frozen parts move",
        "seqtrans/training/optim/freezing.py",
        "module.training = False",
        "pass",
        TUNING,
    ),
    Mutant(
        "what thaws later shares a group of the optimizer",
        "seqtrans/training/optim/optimizer.py",
        "rates[name], begin",
        "rates[name], 0",
        TUNING,
    ),
    Mutant(
        "the first pattern of a rate counts",
        "seqtrans/training/optim/optimizer.py",
        "in factors.items():",
        "in reversed(factors.items()):",
        TUNING,
    ),
    Mutant(
        "a pass that may give other bits on a GPU",
        "seqtrans/training/trainer.py",
        "reproducible(self.updater.device, wanted=self.config.deterministic)",
        "reproducible(self.updater.device, wanted=False)",
        ("tests/runtime/test_determinism.py",),
    ),
    Mutant(
        "Adafactor's cap not scaled",
        "seqtrans/training/optim/optimizer.py",
        "rate = min(rate, 1.0 / math.sqrt(step))",
        "pass",
        TUNING,
    ),
    Mutant(
        "every process judges by statistics of its own",
        "seqtrans/training/distributed/wrappers.py",
        "self.group.share(self.parallel.module.buffers())",
        "pass",
        ("tests/training/distributed/test_image_training.py",),
    ),
    Mutant(
        "patience is one too long",
        "seqtrans/training/stopping.py",
        "self.waited >= config.patience",
        "self.waited > config.patience",
        IMAGE_RUNS,
    ),
)
