"""Reads the calls of one connection; where one looks like the last, nothing is checked or made twice."""

from jangtq_proto.wire.codec import CallShape, LayerCall, decode_call
from jangtq_proto.wire.frames import read_call, read_layer_and_layout


class CallReader:
    """Calls of one layout that come in the same memory differ in their layer alone, once they are read."""

    def __init__(self, shape: CallShape) -> None:
        self._shape = shape
        self._frame: memoryview | None = None
        self._layout = b""
        self._calls: dict[int, LayerCall] = {}

    def read(self, frame: memoryview) -> LayerCall:
        """A call, checked; its arrays look into the frame. Raises CallRejectedError naming the field."""
        layer, layout = read_layer_and_layout(frame)
        if frame is not self._frame or layout != self._layout:
            self._frame, self._layout = frame, layout
            self._calls.clear()
        call = self._calls.get(layer)
        if call is None:
            call = self._calls[layer] = decode_call(read_call(frame), self._shape)
        return call
