"""Chooses the codec of this machine."""

from jangtq_coordinator.dispatch.codec import Codec
from jangtq_coordinator.dispatch.native_codec import NativeCodec
from jangtq_coordinator.dispatch.numpy_codec import NumpyCodec
from jangtq_kernels.errors import BackendMissingError, StaleLibraryError
from jangtq_proto.errors import InstallationError
from jangtq_proto.wire.row_type import RowType


def open_codec(row_type: RowType) -> Codec:
    """The native codec, or the NumPy codec if the installation had no compiler.

    Raises InstallationError for a library of other sources.
    """
    try:
        return NativeCodec(row_type)
    except StaleLibraryError as error:
        raise InstallationError(str(error)) from error
    except BackendMissingError:
        return NumpyCodec(row_type)
