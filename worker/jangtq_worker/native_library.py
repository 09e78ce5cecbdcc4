"""The compiled answers as Python sees them: the structures of answers.h and its functions."""

import ctypes
import sys
from functools import cache
from pathlib import Path

import jangtq_kernels
import jangtq_proto
from jangtq_kernels.errors import StaleLibraryError
from jangtq_kernels.source_digest import load_library
from jangtq_proto.errors import InstallationError

LIBRARY = Path(__file__).parent / ("_answers.dylib" if sys.platform == "darwin" else "_answers.so")
WIRE = Path(jangtq_proto.__file__).parent / "native"
KERNELS = Path(jangtq_kernels.__file__).parent / "native"


class LayerStruct(ctypes.Structure):
    """JangtqNativeLayer."""

    _fields_ = [("forward", ctypes.c_void_p), ("pool", ctypes.c_void_p), ("layer", ctypes.c_void_p)]


class Bytes(ctypes.Structure):
    """JangtqBytes."""

    _fields_ = [("at", ctypes.c_void_p), ("size", ctypes.c_int64)]


class WireCallStruct(ctypes.Structure):
    """JangtqWireCall."""

    _fields_ = [
        ("call_id", ctypes.c_uint64),
        ("layer", ctypes.c_uint32),
        ("row_count", ctypes.c_uint32),
        ("slot_count", ctypes.c_uint32),
        ("row_type", ctypes.c_uint32),
        ("rows", Bytes),
        ("expert_ids", Bytes),
        ("router_weights", Bytes),
        ("exponents", Bytes),
    ]


class AnswerStruct(ctypes.Structure):
    """JangtqAnswer."""

    _fields_ = [
        ("sums", ctypes.c_void_p),
        ("finest", ctypes.c_void_p),
        ("queue_ns", ctypes.c_int64),
        ("compute_ns", ctypes.c_int64),
        ("checksum", ctypes.c_uint32),
    ]


class Counts(ctypes.Structure):
    """JangtqCounts."""

    _fields_ = [("in_flight", ctypes.c_int64), ("total", ctypes.c_int64), ("computing", ctypes.c_int64)]


class Inbox(ctypes.Structure):
    """JangtqInbox."""

    _fields_ = [
        ("fd", ctypes.c_int64),
        ("poll_ns", ctypes.c_int64),
        ("buffer", ctypes.c_void_p),
        ("capacity", ctypes.c_int64),
        ("filled", ctypes.c_int64),
    ]


class AnswerLibrary:
    """The functions of answers.h. Those that never wait keep the GIL, which costs less than giving it up."""

    def __init__(self, path: Path) -> None:
        waiting, quick = load_library(path, WIRE, KERNELS), ctypes.PyDLL(str(path))
        pointer = ctypes.c_void_p
        self.open_admission = quick.jangtq_open_admission
        self.open_admission.restype = pointer
        self.open_admission.argtypes = [ctypes.c_int64, ctypes.c_int64]
        self.close_admission = quick.jangtq_close_admission
        self.serve = waiting.jangtq_serve
        self.refuse = quick.jangtq_refuse
        self.want = quick.jangtq_want
        self.unwant = quick.jangtq_unwant
        self.is_free = quick.jangtq_is_free
        self.is_free.restype, self.is_free.argtypes = ctypes.c_bool, [pointer]
        self.wait_until_free = waiting.jangtq_wait_until_free
        self.count = quick.jangtq_count
        self.is_ordinary = quick.jangtq_is_ordinary
        self.answer = waiting.jangtq_answer
        self.open_conversation = quick.jangtq_open_conversation
        self.open_conversation.restype, self.open_conversation.argtypes = pointer, [pointer] * 2
        self.close_conversation = quick.jangtq_close_conversation
        self.close_conversation.restype, self.close_conversation.argtypes = None, [pointer]
        self.answer_calls = waiting.jangtq_answer_calls
        self.answer_calls.restype, self.answer_calls.argtypes = ctypes.c_int32, [pointer] * 2
        for function in (self.close_admission, self.refuse, self.want, self.unwant, self.wait_until_free):
            function.restype, function.argtypes = None, [pointer]
        self.count.restype, self.count.argtypes = None, [pointer] * 2
        for function in (self.serve, self.is_ordinary):
            function.restype, function.argtypes = ctypes.c_bool, [pointer] * 2
        self.answer.restype, self.answer.argtypes = ctypes.c_bool, [pointer] * 3
        self.open_stream = quick.jangtq_open_stream
        self.open_stream.restype, self.open_stream.argtypes = pointer, [pointer] * 3
        self.close_stream = quick.jangtq_close_stream
        self.close_stream.restype, self.close_stream.argtypes = None, [pointer]
        self.most_reply_bytes = quick.jangtq_most_reply_bytes
        self.most_reply_bytes.restype, self.most_reply_bytes.argtypes = ctypes.c_int64, [pointer]
        self.answer_message = waiting.jangtq_answer_message
        self.answer_message.restype = ctypes.c_int64
        self.answer_message.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, pointer]


@cache
def answer_library() -> AnswerLibrary | None:
    """None where the installation had no compiler. Raises InstallationError for one of other sources."""
    try:
        return AnswerLibrary(LIBRARY) if LIBRARY.exists() else None
    except StaleLibraryError as error:
        raise InstallationError(str(error)) from error
