"""The model that comes with the package: small, trained by this project, see demo/."""

from pathlib import Path
from typing import Final

DEMO: Final = Path("demo")
"""The name of the demo bundle, where a directory is asked for."""


def located(path: Path) -> Path:
    """The directory that a path names: that of the demo bundle for `demo`, unless a bundle is called so."""
    return demo_model() if path == DEMO and not (path / "config.json").exists() else path


def demo_model() -> Path:
    """The directory of the demo bundle."""
    return Path(__file__).parent / "jangtq-demo"
