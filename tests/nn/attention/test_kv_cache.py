"""The kv_cache of decoded keys and values: no copies on the straight way, copies at a fork."""

import torch

from seqtrans.nn.attention.multi_head import SelfAttention


def slots(number):
    return torch.full((2, 3, 2, 4, 8), float(number))


def start():
    return SelfAttention(16, 2).begin(3, like=torch.empty(0))


def test_growing_moves_only_when_the_room_is_used_up():
    kv_cache, moves, places = start(), 0, set()
    for number in range(100):
        kv_cache = kv_cache.append(slots(number))
        moves += kv_cache.buffer.data_ptr() not in places
        places = {kv_cache.buffer.data_ptr()}
    assert kv_cache.length == 400
    assert moves <= 8  # room doubles
    for number in range(100):
        assert (kv_cache.buffer[:, :, :, 4 * number : 4 * number + 4] == number).all()


def test_a_fork_leaves_both_branches_their_own():
    trunk = start().append(slots(1)).append(slots(2))
    one = trunk.append(slots(3))
    other = trunk.append(slots(4))
    assert other.buffer.data_ptr() != one.buffer.data_ptr()
    for kv_cache, last in ((one, 3), (other, 4)):
        assert (
            kv_cache.buffer[0, 0, 0, : kv_cache.length, 0].tolist()
            == [1] * 4 + [2] * 4 + [last] * 4
        )
    assert trunk.length == 8
