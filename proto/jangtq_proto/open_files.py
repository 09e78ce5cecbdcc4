"""How many files and sockets this process may have open."""

import logging
import resource
from typing import Final

ENOUGH: Final = 8192
"""For all connections that the API's limits allow. macOS begins with 256, and refuses above 10240."""

_log = logging.getLogger("jangtq")


def raise_open_files(enough: int = ENOUGH) -> int:
    """Allow `enough`, or as many as the system lets this user have; what is allowed now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = enough if hard == resource.RLIM_INFINITY else min(hard, enough)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (ValueError, OSError) as error:
        _log.warning("open files stay limited to %d: %s", soft, error)
        return soft
    return allowed
