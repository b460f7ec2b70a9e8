"""More mistakes for ``mutants.py``: of several processes, and of those that are started again."""

from mutations import TASKS, Mutant

TRAINER = "seqtrans/training/trainer.py"
ATTEMPTS = "seqtrans/training/distributed/restarts.py"
STOPPED = ("tests/training/distributed/test_resume.py",)
TOGETHER = ("tests/training/distributed/test_failing_ranks.py",)
SHARDED = ("tests/training/distributed/test_sharding.py",)
STARTED_AGAIN = ("tests/training/distributed/test_restarts.py",)

PROCESS_MUTANTS = (
    Mutant(
        "processes: sums change their order after the first update",
        "seqtrans/training/distributed/parallel_updater.py",
        "if isinstance(replica, DataParallel):",
        "if not replica:",
        STOPPED,
    ),
    Mutant(
        "processes: averages of parts are taken for whole",
        "seqtrans/training/optim/ema.py",
        "own_part(p.detach()) for p",
        "p.detach() for p",
        STOPPED,
    ),
    Mutant(
        "processes: others begin elsewhere in the epoch",
        "seqtrans/training/micro_batches.py",
        "islice(batches, start, None)",
        "islice(batches, start * accumulate, None)",
        TASKS,
    ),
    Mutant(
        "processes: each decides by its own metrics",
        TRAINER,
        "return json.loads(self.group.gather(json.dumps(metrics))[0])",
        "return metrics",
        TOGETHER,
    ),
    Mutant(
        "processes: one abandons what the others wait for",
        TRAINER,
        "self._interruption.abandonable(if_=self.group.world_size == 1),",
        "self._interruption.abandonable(),",
        TOGETHER,
    ),
    Mutant(
        "processes: weights are shared out only when training begins",
        "seqtrans/training/prepare.py",
        "        shard_weights(model, config.processes, group, local_device())\n",
        "",
        SHARDED,
    ),
    Mutant(
        "processes: FSDP fetches ahead as others did not validate",
        "seqtrans/training/distributed/wrappers.py",
        "            _forget_passes(part)\n",
        "",
        SHARDED,
    ),
    Mutant(
        "processes: one tries a smaller batch while the others wait for its weights",
        "seqtrans/training/preflight.py",
        "            if is_sharded and others:\n",
        "            if not is_sharded and others:\n",
        SHARDED,
    ),
    Mutant(
        "processes: they judge by a model that is shared out, each as often as it has batches",
        "seqtrans/training/micro_batches.py",
        "        number = max(map(int, group.gather(str(number))))\n",
        "        group.gather(str(number))\n",
        SHARDED,
    ),
    Mutant(
        "processes: they classify by such a model, each as often as it has images",
        "seqtrans/images/task.py",
        "train.resize, group, at_once)",
        "train.resize, None, at_once)",
        SHARDED,
    ),
    Mutant(
        "processes: all machines wait for what the first process finds on its own",
        "seqtrans/training/distributed/rendezvous.py",
        "== 0 if per_host else self.rank == 0",
        "== 0 and self.rank == 0",
        ("tests/training/distributed/test_rendezvous.py",),
    ),
    Mutant(
        "processes: attempts are taken for one another",
        ATTEMPTS,
        "drawn = uuid.uuid4().hex",
        "drawn = ONLY",
        STARTED_AGAIN,
    ),
    Mutant(
        "processes: a run is gone on with by anyone",
        ATTEMPTS,
        'return job != "" and file.read_text(encoding="utf-8") == job',
        'return job != "" and file.exists()',
        STARTED_AGAIN,
    ),
)
