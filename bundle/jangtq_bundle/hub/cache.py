"""Where fetched bundles lie, and how a model that is named ORG/NAME becomes a directory."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Final

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from jangtq_bundle.holdings import Holdings
from jangtq_bundle.hub.get import get_slice
from jangtq_bundle.hub.repository import Repository
from jangtq_bundle.unfinished import OnProgress
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.ranges import format_ranges, ranges_of

ShowProgress = Callable[[str], AbstractContextManager[OnProgress]]

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_name(model: Path) -> bool:
    """Whether `--model` names a model of the hub, and no directory that is here."""
    return _NAME.fullmatch(str(model)) is not None and not model.exists()


def cached_slice(name: str, commit: str, wanted: Holdings) -> Path:
    """The directory of a slice in the hub's cache."""
    return _slices_of(name) / commit[:12] / _label(wanted)


def get_whole(name: str, *, revision: str | None = None, target: Path | None = None) -> Path:
    """Fetch a whole repository, by huggingface_hub's own means. Raises ConfigurationError."""
    try:
        return Path(snapshot_download(name, revision=revision, local_dir=target))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigurationError(
            f"{name}: cannot be fetched: {str(error).strip().splitlines()[0]}"
        ) from error


def locate(model: Path, wanted: Holdings, *, show_progress: ShowProgress) -> Path:
    """A directory that holds what is wanted of a model: `model` itself, or a slice that is fetched now.

    Offline the newest slice that is here is taken. Raises JangtqError.
    """
    if not is_hub_name(model):
        return model
    name = str(model)
    if constants.HF_HUB_OFFLINE:
        return _newest(name, wanted)
    with closing(Repository.open(name)) as repository:
        target = cached_slice(name, repository.commit, wanted)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with show_progress(f"fetching {wanted} of {name}") as on_progress:
                get_slice(repository, target, wanted, on_progress=on_progress)
    return target


def _newest(name: str, wanted: Holdings) -> Path:
    found = [path for path in _slices_of(name).glob(f"*/{_label(wanted)}") if path.is_dir()]
    if not found:
        raise ConfigurationError(f"{name}: HF_HUB_OFFLINE is set, and {wanted} were not fetched before")
    return max(found, key=lambda path: path.stat().st_mtime)


def _slices_of(name: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / "jangtq-slices" / name.replace("/", "--")


def _label(wanted: Holdings) -> str:
    parts = [format_ranges(ranges_of(wanted.experts)).replace(",", "_")] if wanted.experts else []
    return "-and-".join([*(f"experts-{part}" for part in parts), *(["dense"] if wanted.has_dense else [])])
