"""Good calls of several shapes as frames; short ones, so that most mutations meet a field."""

import numpy as np

from jangtq_proto.wire.codec import LayerCall
from jangtq_proto.wire.frames import call_frame
from jangtq_proto.wire.row_type import RowType
from tests.support.scripted_workers import EXPERTS, HIDDEN


def good_calls() -> list[LayerCall]:
    random = np.random.default_rng(5)
    return [
        LayerCall(
            layer=0,
            rows=random.standard_normal((rows, HIDDEN)).astype(np.float32),
            expert_ids=random.integers(-1, EXPERTS, (rows, slots), dtype=np.int32),
            router_weights=random.random((rows, slots), dtype=np.float32),
            exponents=np.full(rows, -20, dtype=np.int8),
            prefill=rows > 1,
        )
        for rows, slots in ((1, 1), (1, 8), (3, 2))
    ]


FRAMES = [call_frame(7, call, kind) for call in good_calls() for kind in RowType]
