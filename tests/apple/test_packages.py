"""Python for Macs, as far as Linux can prove: types for darwin, and wheels of every package for macOS."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.paths import ROOT

MAC = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64", "os_name": "posix"}
PACKAGES = ("bundle", "coordinator", "kernels", "proto", "worker")


def requirements_on_macs() -> list[str]:
    """What pyproject.toml asks for there, without markers, which pip would read for this machine."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = [Requirement(line) for line in stated]
    asked = [one for one in found if one.marker is None or one.marker.evaluate(MAC)]
    for one in asked:
        one.marker = None
    return [*map(str, asked), "mlx-metal"]


def test_types_hold_on_darwin() -> None:
    command = [sys.executable, "-m", "mypy", "--platform", "darwin", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_every_package_has_a_wheel_for_macs(python: str, tmp_path: Path) -> None:
    """Asks the package index."""
    command = [
        *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary=:all:"),
        *("--platform", "macosx_14_0_arm64", "--python-version", python, "--implementation", "cp"),
        *("--target", str(tmp_path), "-c", str(ROOT / "constraints.txt"), "-q", *requirements_on_macs()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
