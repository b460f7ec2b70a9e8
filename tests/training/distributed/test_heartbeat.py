"""Where processes meet: what the last of them does, and a store that does not answer."""

import threading
import time

import pytest

from seqtrans.training.distributed.failure_reports import is_lost_contact
from seqtrans.training.distributed.heartbeat import Meeting


class Store:
    """A key-value store in a dictionary; ``at`` is called whenever it is asked something."""

    def __init__(self, at=lambda: None):
        self.values, self.at = {}, at

    def clone(self):
        return self

    def set(self, key, value):
        self.at()
        self.values[key] = value.encode()

    def get(self, key):
        self.at()
        return self.values[key]

    def check(self, keys):
        self.at()
        return all(key in self.values for key in keys)


def test_who_came_first_and_left_has_been_there():
    store = Store(lambda: time.sleep(0.005))  # so that it leaves in the middle of something
    late = []

    def come_late():
        meeting = Meeting(store, "it", 1, 2, 5.0)
        time.sleep(0.3)
        meeting.wait()
        late.append("came")
        meeting.close()

    thread = threading.Thread(target=come_late)
    thread.start()
    meeting = Meeting(store, "it", 0, 2, 5.0)
    meeting.wait()
    assert store.values["seqtrans/it/1"].endswith(b" 1")
    meeting.close()
    thread.join(20)
    assert late == ["came"]


def test_what_comes_last_is_told_before_it_leaves():
    for pause in (0.0, 0.001, 0.003, 0.006, 0.01):
        store = Store(lambda: time.sleep(0.002))
        store.values["seqtrans/it/1"] = b"7 1"
        meeting = Meeting(store, "it", 0, 2, 5.0)
        while not meeting._signs[1]:
            time.sleep(0.001)
        time.sleep(pause)
        meeting.wait()
        meeting.close()
        assert store.values["seqtrans/it/0"].endswith(b" 1")
        assert not meeting._thread.is_alive()


def refuse():
    raise RuntimeError("Connection reset by peer")


@pytest.mark.parametrize(
    ("at", "said"),
    [(lambda: time.sleep(3), "what the store was asked timed out"), (refuse, "the store is gone")],
)
def test_without_its_store_a_process_does_not_wait(at, said):
    meeting = Meeting(Store(at), "it", 0, 2, 0.5)
    with pytest.raises(RuntimeError, match=said) as caught:
        meeting.wait()
    assert is_lost_contact(caught.value)
    meeting.close()
