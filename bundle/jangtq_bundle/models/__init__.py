"""The model that comes with the package: small, trained by this project, see demo/."""

from pathlib import Path


def demo_model() -> Path:
    """The directory of the demo bundle."""
    return Path(__file__).parent / "jangtq-demo"
