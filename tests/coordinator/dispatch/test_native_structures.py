"""Python's mirrors of native structures, and numbers out of their bytes."""

import numpy as np

from jangtq_coordinator.dispatch.native_structures import (
    GRIDS,
    PART_FIELDS,
    REPLY_FIELDS,
    EncodedPart,
    Memory,
    PartReply,
)
from jangtq_kernels.grid import COARSEST, FINEST


def test_numbers_of_structures_are_those_that_were_set() -> None:
    parts = (EncodedPart * 2)(EncodedPart(*range(PART_FIELDS)), EncodedPart(*range(10, 10 + PART_FIELDS)))
    assert list(EncodedPart.numbers_of(bytes(parts))) == [(0, 1, 2, 3, 4, 5, 6), (10, 11, 12, 13, 14, 15, 16)]
    replies = (PartReply * 1)(PartReply(queue_ns=3, compute_ns=4, is_good=1, received_ns=5))
    assert list(PartReply.times_of(bytes(replies))) == [(3, 4, 5)] and REPLY_FIELDS == 9
    assert (GRIDS.finest, GRIDS.coarsest) == (FINEST, COARSEST)


def test_a_copy_of_memory_is_one_of_its_own() -> None:
    memory = Memory(16)
    memory.view[:8] = np.arange(2, dtype=np.int32).tobytes()
    copied = memory.copy(4, np.int32, 4)
    memory.view[:8] = bytes(8)
    assert copied.tolist() == [1]
    assert memory.of(8) is memory and memory.of(17).size == 17
