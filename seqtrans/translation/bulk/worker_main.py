"""A worker process, started by ``python -m seqtrans.translation.bulk.worker_main``.

It reads numbers of shards, a line each, and writes a JSON object for each: ``{}`` if the shard is
translated, a ``failure`` of this shard, or an ``error`` that concerns all shards and ends the
process. When the driver is gone the process ends at once, in the middle of a shard.
"""

import json
import os
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TextIO, cast

from seqtrans.errors import SeqtransError
from seqtrans.runtime.device import DeviceName
from seqtrans.runtime.memory import limit_memory_to_cgroup
from seqtrans.runtime.out_of_memory import enough_memory
from seqtrans.translation.bulk.shard_translator import ShardTranslator

TOO_LARGE = "memory can't hold the model: take fewer --workers"


def main(folder: str, device: str, threads: str, memory: str = "") -> None:
    """Translate the shards that the driver asks for, until it closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    numbers: SimpleQueue[int] = SimpleQueue()
    Thread(target=_listen, args=(numbers,), daemon=True, name="listen").start()
    limit_memory_to_cgroup(int(memory) if memory else None)
    try:
        with enough_memory(lambda: TOO_LARGE):
            translator = ShardTranslator(Path(folder), cast("DeviceName", device), int(threads))
        while True:
            _answer(answers, **_translated(translator, numbers.get()))
    except SeqtransError as error:
        _answer(answers, error=str(error))
    except OSError as error:
        _answer(answers, error=f"{error.filename or folder}: {error.strerror or error}")


def _translated(translator: ShardTranslator, number: int) -> dict[str, str]:
    """Translate a shard; return nothing, or why this one can't be translated."""
    try:
        with enough_memory(lambda: "memory ran out"):
            translator.translate(number)
    except SeqtransError as error:
        return {"failure": str(error)}
    return {}


def _listen(numbers: SimpleQueue[int]) -> None:
    for line in os.fdopen(os.dup(0), encoding="ascii"):
        numbers.put(int(line))
    os._exit(0)


def _answer(answers: TextIO, **why: str) -> None:
    answers.write(json.dumps(why) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
