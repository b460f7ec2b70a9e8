"""The tape of decoded keys and values: no copies on the straight way, copies at a fork."""

import torch

from seqtrans.nn.attention.multi_head import SelfAttention


def slots(number):
    return torch.full((2, 3, 2, 4, 8), float(number))


def start():
    return SelfAttention(16, 2).begin(3, like=torch.empty(0))


def test_growing_moves_only_when_the_room_is_used_up():
    tape, moves, places = start(), 0, set()
    for number in range(100):
        tape = tape.append(slots(number))
        moves += tape.room.data_ptr() not in places
        places = {tape.room.data_ptr()}
    assert tape.length == 400
    assert moves <= 8  # room doubles
    for number in range(100):
        assert (tape.room[:, :, :, 4 * number : 4 * number + 4] == number).all()


def test_a_fork_leaves_both_branches_their_own():
    trunk = start().append(slots(1)).append(slots(2))
    one = trunk.append(slots(3))
    other = trunk.append(slots(4))
    assert other.room.data_ptr() != one.room.data_ptr()
    for tape, last in ((one, 3), (other, 4)):
        assert tape.room[0, 0, 0, : tape.length, 0].tolist() == [1] * 4 + [2] * 4 + [last] * 4
    assert trunk.length == 8
