"""Every path and every name that ARCHITECTURE.md mentions exists."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGES = {name: ROOT / name / f"jangtq_{name}" for name in ("worker", "proto", "kernels", "bundle")}
COORDINATOR = ROOT / "coordinator/jangtq_coordinator"
MENTIONED = sorted(set(re.findall(r"`([\w./-]+(?:/|\.(?:py|toml))(?::[\w.]+)?)`", PAGE)))
MOST_LINES = 150


def located(path: str) -> Path:
    first, _, rest = path.partition("/")
    if first in PACKAGES and (PACKAGES[first] / rest).exists():
        return PACKAGES[first] / rest
    return COORDINATOR / path if (COORDINATOR / path).exists() else ROOT / path


def defines(body: list[ast.stmt], name: str) -> bool:
    """Whether `Class.method`, `function` or `CONSTANT` is defined at this level."""
    first, _, rest = name.partition(".")
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == first:
            return not rest or defines(node.body, rest)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == first for target in targets):
            return not rest
    return False


def test_the_page_is_one_page() -> None:
    assert len(PAGE.splitlines()) < MOST_LINES and len(MENTIONED) > 80


@pytest.mark.parametrize("mentioned", MENTIONED)
def test_what_the_page_mentions_exists(mentioned: str) -> None:
    path, _, name = mentioned.partition(":")
    place = located(path)
    assert place.exists()
    if name:
        assert defines(ast.parse(place.read_text()).body, name)
