"""Places fetched bundles in the hub's own cache, one slice for each requested part."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

from huggingface_hub import constants

from jangtq_bundle.holdings import Holdings
from jangtq_bundle.hub.remote_bundle import get_slice
from jangtq_bundle.hub.repository import Repository
from jangtq_bundle.writing.unfinished import OnProgress
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.ranges import format_ranges, ranges_of

ShowProgress = Callable[[str], AbstractContextManager[OnProgress]]


def cached_slice(name: str, commit: str, wanted: Holdings) -> Path:
    """The directory of a slice in the hub's cache."""
    return _slices_of(name) / commit[:12] / _label(wanted)


def cached_whole(name: str, commit: str) -> Path:
    """The directory of a whole bundle in the hub's cache."""
    return _slices_of(name) / commit[:12] / "whole"


def fetch_slice(name: str, wanted: Holdings, *, show_progress: ShowProgress) -> Path:
    """A directory with what is wanted of a model: fetched now, or before.

    Offline the newest slice that is here is taken. Raises JangtqError.
    """
    if constants.HF_HUB_OFFLINE:
        return _newest(name, wanted)
    with closing(Repository.open(name)) as repository:
        whole, target = cached_whole(name, repository.commit), cached_slice(name, repository.commit, wanted)
        if whole.exists():
            return whole
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
