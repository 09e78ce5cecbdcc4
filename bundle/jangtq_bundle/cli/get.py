"""`jangtq-bundle get`."""

from contextlib import closing
from pathlib import Path

from jangtq_bundle.cli.command_settings import GetSettings
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.hub.cache import cached_slice, cached_whole
from jangtq_bundle.hub.remote_bundle import get_slice
from jangtq_bundle.hub.repository import Repository
from jangtq_bundle.hub.whole import get_whole
from jangtq_bundle.progress import progress_bar
from jangtq_proto.ranges import expert_ids


def get(settings: GetSettings) -> None:
    """Prints where it lies. Raises JangtqError."""
    wanted = Holdings(expert_ids(settings.ranges), settings.coordinator)
    is_whole = not wanted.experts and not wanted.has_dense
    with closing(Repository.open(settings.model, revision=settings.revision)) as repository:
        name, commit = repository.name, repository.commit
        cached = cached_whole(name, commit) if is_whole else cached_slice(name, commit, wanted)
        target = settings.target or cached
        if settings.target or not target.exists():
            _fetch(repository, target, None if is_whole else wanted)
    print(target)


def _fetch(repository: Repository, target: Path, wanted: Holdings | None) -> None:
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    with progress_bar(f"fetching {wanted or 'all'} of {repository.name}") as on_progress:
        if wanted is None:
            get_whole(repository, target, on_progress=on_progress)
        else:
            get_slice(repository, target, wanted, on_progress=on_progress)
