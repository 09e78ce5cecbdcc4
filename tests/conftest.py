"""Fixtures of several test files."""

import os
import shutil
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import settings

import jangtq_coordinator as _  # noqa: F401  before MLX, which test files import first: fast products
import tests.support.short_pauses  # noqa: F401  before anything reads its timings
from jangtq_bundle.demo import write_demo_bundle
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.writing.writer import write_bundle
from tests.support.made_once import made_once
from tests.support.needs import closing_paragraph
from tests.support.reference_bundles import make_reference_bundle
from tests.support.small_bundles import dense_model

# A slow example says nothing on a busy machine.
settings.register_profile("any-speed", deadline=None)
settings.load_profile("any-speed")


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture(scope="session")
def reference_bundle(common_folder: Path) -> Callable[[StrEnum], Path]:
    """Bundles of the reference converter."""
    return lambda variant: make_reference_bundle(variant, common_folder)


@pytest.fixture(scope="session")
def small_bundle(common_folder: Path) -> Path:
    """Our own bundle of the smallest model; not to be changed."""
    options = WriteOptions("small")
    return made_once(common_folder / "small-model", lambda path: write_bundle(path, dense_model(), options))


@pytest.fixture(scope="session")
def demo_bundle(common_folder: Path) -> Path:
    """The demo bundle; its folder gives the model its name."""
    return made_once(common_folder / "demo-model", write_demo_bundle)


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
