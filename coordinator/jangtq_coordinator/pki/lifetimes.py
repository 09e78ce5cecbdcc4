"""How long certificates are good."""

from typing import Final

AUTHORITY_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 365
