"""Tests mirror the source: a module's tests lie in the file of its name, or the module stands in a list.

The list, `modules_without_tests.txt` beside this file, may only shrink: a new module comes with tests, and
a listed one is struck out with its first test.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

COMPONENTS = ("bundle", "coordinator", "kernels", "proto", "worker")
LIST = Path(__file__).with_name("modules_without_tests.txt")


def modules() -> Iterator[tuple[str, Path]]:
    """Each module's path, and that of the test file which would be its own."""
    for component in COMPONENTS:
        package = ROOT / component / f"jangtq_{component}"
        for module in sorted(package.rglob("*.py")):
            if module.name.startswith("__") or "_pb2" in module.name:
                continue
            folder = module.parent.relative_to(package)
            test = ROOT / "tests" / component / folder / f"test_{module.stem.lstrip('_')}.py"
            yield str(module.relative_to(ROOT)), test


def test_every_module_has_its_test_file_or_is_listed() -> None:
    listed = LIST.read_text().splitlines()
    assert listed == sorted(set(listed)), "the list is sorted and names each module once"
    missing = [module for module, test in modules() if not test.exists()]
    assert sorted(set(missing) - set(listed)) == [], "these modules need a test file of their name"
    assert sorted(set(listed) - set(missing)) == [], "these have one now, or are gone: strike them out"


def test_every_test_file_beside_the_source_has_a_folder_of_the_source() -> None:
    for component in COMPONENTS:
        tests = ROOT / "tests" / component
        for folder in sorted({path.parent for path in tests.rglob("test_*.py")}):
            source = ROOT / component / f"jangtq_{component}" / folder.relative_to(tests)
            assert source.is_dir(), f"{folder} mirrors no package"
