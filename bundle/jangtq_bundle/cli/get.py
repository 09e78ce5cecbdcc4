"""`jangtq-bundle get`."""

from contextlib import closing

from jangtq_bundle.cli.command_settings import GetSettings
from jangtq_bundle.cli.progress import progress_bar
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.hub.cache import cached_slice, get_whole
from jangtq_bundle.hub.get import get_slice
from jangtq_bundle.hub.repository import Repository
from jangtq_proto.ranges import expert_ids


def get(settings: GetSettings) -> None:
    """Raises JangtqError."""
    if not settings.ranges and not settings.coordinator:
        print(get_whole(settings.model, revision=settings.revision, target=settings.target))
        return
    wanted = Holdings(expert_ids(settings.ranges), settings.coordinator)
    with closing(Repository.open(settings.model, revision=settings.revision)) as repository:
        target = settings.target or cached_slice(repository.name, repository.commit, wanted)
        if settings.target is None and target.exists():
            print(target)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar(f"fetching {wanted} of {settings.model}") as on_progress:
            get_slice(repository, target, wanted, on_progress=on_progress)
    print(target)
