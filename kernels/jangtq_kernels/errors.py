"""What a kernel refuses. Callers above map these into the project's error tree."""


class KernelInputError(ValueError):
    """An argument has the wrong shape, dtype, alignment or value; the message names it."""


class BackendMissingError(RuntimeError):
    """The named backend cannot run on this machine; the message says why."""


class StaleLibraryError(BackendMissingError):
    """A compiled library is of other sources than those installed; the message says what to do."""


class KernelFaultError(BackendMissingError):
    """A backend's kernels compute wrong on this machine; the message names them and says what to do."""
