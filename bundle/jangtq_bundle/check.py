"""An inventory held against the model: names, dtypes, shapes and bits. Reads no weight but tq_bits."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from jangtq_bundle.config import ModelConfig
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.inventory import Inventory
from jangtq_bundle.schema import TensorRule, expected_tensors, is_unused
from jangtq_bundle.shards import TensorRecord, adjacent_runs
from jangtq_bundle.tensors import read_bytes
from jangtq_bundle.vocabulary import Layout, Part, Projection, single_name, stacked_name
from jangtq_proto.errors import BundleError


def check_inventory(inventory: Inventory, config: ModelConfig, holdings: Holdings) -> None:
    """Hold names, dtypes, shapes and tq_bits against the model. Raises BundleError for the first fault."""
    layout = inventory.layout
    names = set()
    missing = []
    for rule in expected_tensors(config, layout, holdings):
        names.add(rule.name)
        record = inventory.tensors.get(rule.name)
        if record is None:
            missing.append(rule)
        else:
            _check_tensor(record, rule)
    unexpected = (record for name, record in inventory.tensors.items() if name not in names)
    _check_names(missing, (record for record in unexpected if not is_unused(record.name)))
    _check_bits(inventory, config, layout, holdings)


def _check_tensor(record: TensorRecord, rule: TensorRule) -> None:
    if record.dtype not in rule.dtypes:
        expected = " or ".join(rule.dtypes)
        raise BundleError(
            f"{record.file}: tensor {rule.name!r}: dtype is {record.dtype}, expected {expected}"
        )
    if record.shape != rule.shape:
        raise BundleError(
            f"{record.file}: tensor {rule.name!r}: shape is {list(record.shape)}, expected {list(rule.shape)}"
        )


def _check_names(missing: list[TensorRule], unexpected: Iterator[TensorRecord]) -> None:
    if missing:
        first, others = missing[0], f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise BundleError(
            f"tensor {first.name!r}{others} missing from the weight files, "
            f"expected {list(first.shape)} of {' or '.join(first.dtypes)}"
        )
    for record in islice(unexpected, 1):
        raise BundleError(f"{record.file}: tensor {record.name!r} does not belong to this model")


def _check_bits(inventory: Inventory, config: ModelConfig, layout: Layout, holdings: Holdings) -> None:
    by_file: dict[Path, list[TensorRecord]] = defaultdict(list)
    expected: dict[str, int] = {}
    for name, bits in _declared_bits(config, layout, holdings):
        record = inventory.tensors[name]
        by_file[record.path].append(record)
        expected[name] = bits
    for records in by_file.values():
        for run in adjacent_runs(records):
            _check_run(run, expected)


def _check_run(run: tuple[TensorRecord, ...], expected: Mapping[str, int]) -> None:
    """tq_bits tensors that lie side by side, one byte each."""
    data = read_bytes(run[0].path, offset=run[0].offset, length=len(run))
    for record, bits in zip(run, data, strict=True):
        if bits != expected[record.name]:
            raise BundleError(
                f"{record.file}: tensor {record.name!r}: {bits} bits, expected {expected[record.name]}"
            )


def _declared_bits(config: ModelConfig, layout: Layout, holdings: Holdings) -> Iterator[tuple[str, int]]:
    if not holdings.experts:
        return
    for layer in range(config.layer_count):
        for projection in Projection:
            bits = config.bits.of(projection)
            if layout is Layout.PRESTACKED:
                yield stacked_name(layer, projection, Part.BITS), bits
                continue
            for expert in holdings.experts:
                yield single_name(layer, expert, projection=projection, part=Part.BITS), bits
