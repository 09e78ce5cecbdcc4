"""How much a test run tries: `JANGTQ_TESTS=all` asks for all combinations where a few stand for them."""

import os
from typing import Final

ALL: Final = os.environ.get("JANGTQ_TESTS") == "all"
