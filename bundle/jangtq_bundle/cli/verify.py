"""`jangtq-bundle verify`."""

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.cli.command_settings import VerifySettings
from jangtq_bundle.cli.printing import new_table, show
from jangtq_bundle.judging.comparison import compare_with_source
from jangtq_bundle.judging.verification import verify_experts
from jangtq_bundle.progress import progress_bar
from jangtq_bundle.vocabulary import Projection


def verify(settings: VerifySettings) -> None:
    """Raises JangtqError for the first fault."""
    bundle = Bundle.open(settings.bundle)
    with progress_bar(f"reading {bundle.holdings}") as on_progress:
        if bundle.holdings.has_dense:
            bundle.check_dense()
        findings = []
        for finding in verify_experts(bundle) if bundle.holdings.experts else ():
            findings.append(finding)
            on_progress(len(findings), bundle.config.layer_count * len(Projection))
    hashes = "every byte as its hashes say" if bundle.has_hashes else "no hashes to compare with"
    print(f"{bundle.path}: {bundle.holdings}, {hashes}")
    if findings:
        norms = [finding.least_norm for finding in findings], [finding.largest_norm for finding in findings]
        print(f"norms from {min(norms[0]):.4g} to {max(norms[1]):.4g}")
    if settings.source is not None:
        _compare(bundle, settings)


def _compare(bundle: Bundle, settings: VerifySettings) -> None:
    assert settings.source is not None
    table = new_table("matrix", "bits", "relative error", "gain", title="against the source")
    for line in compare_with_source(bundle, settings.source, rows=settings.rows):
        table.add_row(line.name, line.bits, f"{line.error:.4f}", f"{line.gain:.4f}")
    show(table)
