from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RowType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROW_TYPE_UNSPECIFIED: _ClassVar[RowType]
    ROW_TYPE_FLOAT32: _ClassVar[RowType]
    ROW_TYPE_FLOAT16: _ClassVar[RowType]
    ROW_TYPE_BFLOAT16: _ClassVar[RowType]
ROW_TYPE_UNSPECIFIED: RowType
ROW_TYPE_FLOAT32: RowType
ROW_TYPE_FLOAT16: RowType
ROW_TYPE_BFLOAT16: RowType

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeReply(_message.Message):
    __slots__ = ("protocol_version", "fingerprint", "layer_count", "expert_count", "hidden_size", "expert_ranges", "device", "weight_bytes", "resident_bytes", "version", "instance", "spare_bytes", "leaving", "taken_over", "machine_id")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    LAYER_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPERT_COUNT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    EXPERT_RANGES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SPARE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    TAKEN_OVER_FIELD_NUMBER: _ClassVar[int]
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    fingerprint: str
    layer_count: int
    expert_count: int
    hidden_size: int
    expert_ranges: _containers.RepeatedCompositeFieldContainer[ExpertRange]
    device: str
    weight_bytes: int
    resident_bytes: int
    version: str
    instance: str
    spare_bytes: int
    leaving: bool
    taken_over: _containers.RepeatedCompositeFieldContainer[ExpertRange]
    machine_id: str
    def __init__(self, protocol_version: _Optional[int] = ..., fingerprint: _Optional[str] = ..., layer_count: _Optional[int] = ..., expert_count: _Optional[int] = ..., hidden_size: _Optional[int] = ..., expert_ranges: _Optional[_Iterable[_Union[ExpertRange, _Mapping]]] = ..., device: _Optional[str] = ..., weight_bytes: _Optional[int] = ..., resident_bytes: _Optional[int] = ..., version: _Optional[str] = ..., instance: _Optional[str] = ..., spare_bytes: _Optional[int] = ..., leaving: bool = ..., taken_over: _Optional[_Iterable[_Union[ExpertRange, _Mapping]]] = ..., machine_id: _Optional[str] = ...) -> None: ...

class LocalSocket(_message.Message):
    __slots__ = ("machine_id", "path")
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    machine_id: str
    path: str
    def __init__(self, machine_id: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class TakeOverRequest(_message.Message):
    __slots__ = ("expert_ranges",)
    EXPERT_RANGES_FIELD_NUMBER: _ClassVar[int]
    expert_ranges: _containers.RepeatedCompositeFieldContainer[ExpertRange]
    def __init__(self, expert_ranges: _Optional[_Iterable[_Union[ExpertRange, _Mapping]]] = ...) -> None: ...

class TakeOverReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GiveBackRequest(_message.Message):
    __slots__ = ("expert_ranges",)
    EXPERT_RANGES_FIELD_NUMBER: _ClassVar[int]
    expert_ranges: _containers.RepeatedCompositeFieldContainer[ExpertRange]
    def __init__(self, expert_ranges: _Optional[_Iterable[_Union[ExpertRange, _Mapping]]] = ...) -> None: ...

class GiveBackReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OpenExpressRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OpenExpressReply(_message.Message):
    __slots__ = ("ticket", "port", "local_socket")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    LOCAL_SOCKET_FIELD_NUMBER: _ClassVar[int]
    ticket: bytes
    port: int
    local_socket: LocalSocket
    def __init__(self, ticket: _Optional[bytes] = ..., port: _Optional[int] = ..., local_socket: _Optional[_Union[LocalSocket, _Mapping]] = ...) -> None: ...

class ExpertRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
