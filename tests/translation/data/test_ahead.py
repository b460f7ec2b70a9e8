"""Values computed ahead are those of the function, and computed once."""

import os
from threading import get_ident

import pytest

from seqtrans.translation.data.ahead import Ahead


def test_a_value_is_computed_once_whether_ahead_or_not():
    calls = []

    def compute(*numbers):
        calls.append((numbers, get_ident()))
        return sum(numbers)

    ahead = Ahead(compute)
    assert ahead(1, 2) == 3
    ahead.start(3, 4)
    assert [ahead(3, 4), ahead(3, 4)] == [7, 7]  # the second time anew
    assert [numbers for numbers, _ in calls] == [(1, 2), (3, 4), (3, 4)]
    assert [thread == get_ident() for _, thread in calls] == [True, False, True]


def test_a_value_that_was_waited_for_is_there_for_the_next_call():
    calls = []

    def compute(number):
        calls.append(number)
        return 2 * number

    ahead = Ahead(compute)
    assert ahead.start(1).result() == 2
    assert ahead(1) == 2
    assert calls == [1]


def test_what_was_not_to_be_next_is_computed_too():
    ahead = Ahead(lambda x: 2 * x)
    ahead.start(1)
    assert ahead(5) == 10
    ahead.start(6)
    assert [ahead(1), ahead(6)] == [2, 12]


def test_an_error_is_raised_where_the_value_is_asked_for():
    ahead = Ahead(lambda x: 1 // x)
    ahead.start(0)
    with pytest.raises(ZeroDivisionError):
        ahead(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_thread_that_it_lacks():
    ahead = Ahead(lambda x: x + 1)
    ahead.start(1)
    child = os.fork()
    if child == 0:
        os._exit(ahead(1))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
