"""`jangtq-bundle info`."""

from rich.filesize import decimal
from rich.table import Table

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.cli.command_settings import InfoSettings
from jangtq_bundle.cli.printing import new_table, show


def show_info(settings: InfoSettings) -> None:
    """Raises JangtqError."""
    bundle = Bundle.open(settings.bundle)
    config = bundle.config
    table = new_table(title=str(bundle.path))
    for name, value in {
        "holds": str(bundle.holdings),
        "model": f"{config.layer_count} layers, hidden {config.hidden_size}, "
        f"{config.original_expert_count} experts, {config.experts_per_token} at a time",
        "context": f"{config.context_length} tokens",
        "experts": f"{config.profile}: {config.bits} bits, {bundle.layout}",
        "dense matrices": f"{config.affine.bits} bits in groups of {config.affine.group_size}",
        "hashes": "yes" if bundle.has_hashes else "no: `jangtq-coord hash` writes some",
        "fingerprint": bundle.fingerprint[:12],
    }.items():
        table.add_row(name, value)
    show(table)
    show(_memory(bundle))


def _memory(bundle: Bundle) -> Table:
    """Bytes by component, and what a worker takes with a part of the experts."""
    expert = bundle.expert_nbytes * bundle.config.layer_count
    dense = sum(record.nbytes for record in bundle.dense_tensors())
    table = new_table("component", "memory", title="memory")
    if dense:
        table.add_row("everything but the experts", decimal(dense))
    table.add_row("one expert of all layers", decimal(expert))
    for parts in (1, 2, 3, 4):
        count = -(-bundle.config.expert_count // parts)
        label = "all experts" if parts == 1 else f"experts of one of {parts} equal workers"
        table.add_row(label, decimal(expert * count))
    return table
