"""What import-linter cannot say of the layout: names occur once, private APIs are used in one file a side.

In kernels each device has a package with the same files, so that names repeat by intent.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

COMPONENTS = {
    "coordinator": ROOT / "coordinator/jangtq_coordinator",
    "worker": ROOT / "worker/jangtq_worker",
    "proto": ROOT / "proto/jangtq_proto",
    "kernels": ROOT / "kernels/jangtq_kernels",
    "bundle": ROOT / "bundle/jangtq_bundle",
}
EVERYWHERE = {"__init__.py", "__main__.py"}
MOST_MODULES = 25
MOST_FLAT = {"bundle": 32}
FIRST_LEVEL = {"__init__.py", "__main__.py", "config.py", "logs.py", "readiness.py", "mlx_lm.py"}
GRPC_INTERNALS = {
    "coordinator/jangtq_coordinator/transport/grpc_stream.py",
    "worker/jangtq_worker/transport/grpc_stream.py",
}


def modules(component: Path) -> Iterator[Path]:
    for path in sorted(component.rglob("*.py")):
        if "v1" not in path.parts:
            yield path


def twice(places: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: found for name, found in places.items() if len(found) > 1}


@pytest.mark.parametrize(
    "component", [path for name, path in COMPONENTS.items() if name != "kernels"], ids=str
)
def test_no_file_name_and_no_class_name_occurs_twice(component: Path) -> None:
    files: dict[str, list[str]] = defaultdict(list)
    classes: dict[str, list[str]] = defaultdict(list)
    for path in modules(component):
        place = str(path.relative_to(component))
        if path.name not in EVERYWHERE:
            files[path.name].append(place)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name.lstrip("_")].append(place)
    assert twice(files) == {}
    assert twice(classes) == {}


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=list(COMPONENTS))
def test_every_package_says_in_one_sentence_what_it_is(component: Path) -> None:
    for package in sorted(component.rglob("__init__.py")):
        if "v1" not in package.parts:
            said = ast.get_docstring(ast.parse(package.read_text()))
            assert said and said.endswith("."), package
            modules_here = len(list(package.parent.glob("*.py")))
            assert modules_here <= MOST_FLAT.get(component.parent.name, MOST_MODULES), package.parent


def test_half_a_dozen_files_stay_at_the_first_level() -> None:
    assert {path.name for path in COMPONENTS["coordinator"].glob("*.py")} == FIRST_LEVEL


def test_grpc_internals_are_used_in_one_file_a_side() -> None:
    users = {
        str(path.relative_to(ROOT))
        for component in COMPONENTS.values()
        for path in modules(component)
        if "grpc._" in path.read_text() or "cygrpc" in path.read_text()
    }
    assert users == GRPC_INTERNALS
