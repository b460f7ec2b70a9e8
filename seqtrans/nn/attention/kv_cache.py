"""Keys and values of attention, as data: of the source, and of decoded tokens."""

from typing import NamedTuple

from seqtrans.tensor_types import Bool, Float, Int, Tensor


class KeyValue(NamedTuple):
    """Projected keys and values of memory positions, and their mask."""

    key: Float[Tensor, "B H M E"]
    value: Float[Tensor, "B H M E"]
    mask: Bool[Tensor, "B M"]

    def keep(self, sentence: Int[Tensor, " R"]) -> "KeyValue":
        """Keep only these sentences."""
        return KeyValue(*(part[sentence] for part in self))

    def contiguous(self) -> "KeyValue":
        """Return a copy with contiguous memory, for many decoding steps."""
        return KeyValue(self.key.contiguous(), self.value.contiguous(), self.mask)


class KVCache(NamedTuple):
    """Keys and values of all tokens that any hypothesis of a sentence has had, oldest first.

    All hypotheses of a sentence share one cache. An ancestry mask says which slots belong to which
    hypothesis, so reordering hypotheses copies no keys or values. A cache behaves as a value,
    although later slots are allocated ahead and written in place: caches that share a ``buffer``
    also share ``used_slots``, and a cache that is not the longest is copied before it grows.
    """

    buffer: Float[Tensor, "2 B H capacity E"]
    length: int
    used_slots: list[int]  # one number: slots in use by the longest cache that shares ``buffer``

    def append(self, new: Float[Tensor, "2 B H K E"]) -> "KVCache":
        """Return the cache with K more slots."""
        end = self.length + new.size(3)
        buffer, used_slots = self.buffer, self.used_slots
        if used_slots[0] != self.length or end > buffer.size(3):
            buffer, used_slots = new.new_empty((*new.shape[:3], 2 * end, new.size(4))), [0]
            buffer[:, :, :, : self.length] = self.buffer[:, :, :, : self.length]
        buffer[:, :, :, self.length : end] = new
        used_slots[0] = end
        return KVCache(buffer, end, used_slots)

    def keep(self, sentence: Int[Tensor, " R"]) -> "KVCache":
        """Keep only these sentences, without spare capacity."""
        return KVCache(self.buffer[:, sentence, :, : self.length], self.length, [self.length])
