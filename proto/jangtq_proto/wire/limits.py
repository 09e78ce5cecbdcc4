"""How large an expert call may be."""

from typing import Final

MAX_ROWS_PER_CALL: Final = 4096
MAX_SLOTS: Final = 32
