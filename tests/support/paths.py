"""Where things lie in the repository, for tests that start programs or read files of it."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
NATIVE_PROGRAMS: Final = ROOT / "kernels/native_tests"
