"""Fixtures of several test files."""

import os
import shutil
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import settings

import jangtq_coordinator as _  # noqa: F401  before MLX, which test files import first: fast products
from jangtq_bundle.demo import write_demo_bundle
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.writing.writer import write_bundle
from tests.support.needs import closing_paragraph
from tests.support.reference_bundles import make_reference_bundle
from tests.support.small_bundles import dense_model

# A slow example says nothing on a busy machine.
settings.register_profile("any-speed", deadline=None)
settings.load_profile("any-speed")


@pytest.fixture(scope="session")
def reference_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[StrEnum], Path]:
    """Bundles of the reference converter, each made once for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reference-bundles"
    root.mkdir(exist_ok=True)
    return lambda variant: make_reference_bundle(variant, root)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own bundle of the smallest model; not to be changed."""
    path: Path = tmp_path_factory.mktemp("small") / "bundle"
    write_bundle(path, dense_model(), WriteOptions("small"))
    return path


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo bundle; its folder gives the model its name."""
    path = tmp_path_factory.mktemp("demo") / "demo-model"
    write_demo_bundle(path)
    return path


@pytest.fixture
def bundle_copy(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores, since tests of processes and sockets wait half of their time."""
    return len(os.sched_getaffinity(0)) + 2 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 2


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a fixture of their module run in one process, which makes it once."""
    for item in items:
        fixtures = getattr(item, "_fixtureinfo", None)
        definitions = fixtures.name2fixturedefs.values() if fixtures else ()
        if any(definition[-1].scope == "module" for definition in definitions):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One paragraph about what this machine lacks."""
    skipped = terminalreporter.stats.get("skipped", [])
    if paragraph := closing_paragraph(report.longrepr[2] for report in skipped):
        terminalreporter.section("left out")
        terminalreporter.write_line(paragraph)
