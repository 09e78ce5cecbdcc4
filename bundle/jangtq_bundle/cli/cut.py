"""`jangtq-bundle slice`."""

from jangtq_bundle.cli.command_settings import SliceSettings
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.progress import progress_bar
from jangtq_bundle.slices.slicing import slice_bundle
from jangtq_proto.ranges import expert_ids


def cut(settings: SliceSettings) -> None:
    """Raises JangtqError."""
    wanted = Holdings(expert_ids(settings.ranges), settings.coordinator)
    with progress_bar(f"copying {wanted}") as on_progress:
        slice_bundle(settings.source, settings.target, wanted, on_progress=on_progress)
    print(f"{settings.target}: {wanted}")
