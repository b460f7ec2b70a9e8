"""A process that a driver on the same machine gives shards.

It is started by ``python -m seqtrans.translation.bulk.worker_main``.

Numbers of shards come in, line by line; a JSON object goes out for each: ``{}`` if it is done, a
``failure`` of this shard, or an ``error`` that no shard is to blame for, which ends the process.
When the driver is gone, so is this process, in the middle of a shard: its next one begins that
again.
"""

import json
import os
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TextIO, cast

from seqtrans.errors import SeqtransError
from seqtrans.runtime.device import DeviceName

if TYPE_CHECKING:
    from seqtrans.translation.bulk.shard_translator import ShardTranslator

TOO_LARGE = "memory can't hold the model: take fewer --workers"


def main(folder: str, device: str, threads: str, memory: str = "") -> None:
    """Translate what is asked for until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # no library that prints shall break what the driver reads
    numbers: SimpleQueue[int] = SimpleQueue()
    Thread(target=_listen, args=(numbers,), daemon=True, name="listen").start()
    from seqtrans.runtime.memory import limit_memory_to_cgroup
    from seqtrans.runtime.out_of_memory import enough_memory
    from seqtrans.translation.bulk.shard_translator import ShardTranslator

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


def _translated(translator: "ShardTranslator", number: int) -> dict[str, str]:
    """What to answer: nothing, or why this shard fails, which says nothing of the others."""
    from seqtrans.runtime.out_of_memory import enough_memory

    try:
        with enough_memory(lambda: "memory ran out"):
            translator.translate(number)
    except SeqtransError as error:
        return {"failure": str(error)}
    return {}


def _listen(numbers: "SimpleQueue[int]") -> None:
    for line in os.fdopen(os.dup(0), encoding="ascii"):
        numbers.put(int(line))
    os._exit(0)


def _answer(answers: TextIO, **why: str) -> None:
    answers.write(json.dumps(why) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
