"""Opens a model however `--model` names it: a directory, or ORG/NAME of the hub, which is fetched first."""

import re
from pathlib import Path
from typing import Final

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.holdings import Holdings

_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def open_model(model: Path, wanted: Holdings) -> Bundle:
    """The bundle, or a slice of it that holds what is wanted. Raises JangtqError."""
    bundle = Bundle.open(_locate(model, wanted))
    bundle.check_experts(wanted.experts)
    if wanted.has_dense:
        bundle.require_dense()
    return bundle


def is_hub_name(model: Path) -> bool:
    """Whether `--model` names a model of the hub, and nothing that lies here."""
    return _HUB_NAME.fullmatch(str(model)) is not None and not model.exists()


def _locate(model: Path, wanted: Holdings) -> Path:
    if not is_hub_name(model):
        return model
    from jangtq_bundle.hub.cache import fetch_slice
    from jangtq_bundle.progress import progress_bar

    return fetch_slice(str(model), wanted, show_progress=progress_bar)
