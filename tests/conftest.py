"""Fixtures of several test files."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from reference_bundles import Variant, make_reference_bundle  # noqa: E402


@pytest.fixture(scope="session")
def reference_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant], Path]:
    """Bundles of the reference converter, each made once for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reference-bundles"
    root.mkdir(exist_ok=True)
    return lambda variant: make_reference_bundle(variant, root)
