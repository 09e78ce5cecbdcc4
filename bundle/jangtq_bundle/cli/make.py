"""`jangtq-bundle convert`."""

from jangtq_bundle.cli.command_settings import ConvertSettings
from jangtq_bundle.convert.conversion import ConversionOptions, convert
from jangtq_bundle.metadata import WriteOptions
from jangtq_bundle.progress import progress_bar
from jangtq_bundle.vocabulary import Layout


def make(settings: ConvertSettings) -> None:
    """Raises JangtqError."""
    name = settings.source.resolve().name
    write = WriteOptions(name, settings.profile.name, Layout(settings.layout.value))
    options = ConversionOptions(write, settings.rounding, settings.threads)
    with progress_bar(f"converting {name} to {settings.profile.name}") as on_progress:
        bundle = convert(settings.source, settings.target, options, on_progress=on_progress)
    print(f"{settings.target}: {settings.profile.name}, fingerprint {bundle.fingerprint[:12]}")
