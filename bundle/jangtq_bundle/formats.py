"""The number formats of a bundle, as its tensors have them. Reads no weight but three tq_bits."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from jangtq_bundle.config import ModelConfig
from jangtq_bundle.declarations import DeclaredAffine, DeclaredBits
from jangtq_bundle.directory import JANG_CONFIG_FILE
from jangtq_bundle.inventory import Inventory
from jangtq_bundle.schema import FLOATS, matrices
from jangtq_bundle.shards import TensorRecord
from jangtq_bundle.tensors import read_bytes
from jangtq_bundle.vocabulary import (
    ALLOWED_AFFINE_BITS,
    ALLOWED_BITS,
    ALLOWED_GROUP_SIZES,
    AffineFormat,
    Layout,
    Part,
    Projection,
    ProjectionBits,
    profile_name,
    single_name,
    stacked_name,
    words_per_row,
)
from jangtq_proto.errors import BundleError

MatrixFormats = Mapping[str, AffineFormat | None]


@dataclass(frozen=True)
class Formats:
    """`affine` is what most matrices have, `exceptions` what the others have: None for plain floats."""

    bits: ProjectionBits
    affine: AffineFormat
    exceptions: MatrixFormats

    def apply(self, config: ModelConfig) -> ModelConfig:
        """The same model in these formats."""
        return replace(
            config,
            bits=self.bits,
            profile=profile_name(self.bits),
            affine=self.affine,
            matrix_formats=self.exceptions,
        )


ReadTensor = Callable[[TensorRecord], bytes]


def read_local_tensor(record: TensorRecord) -> bytes:
    """All bytes of a tensor on this machine. Raises BundleError."""
    return read_bytes(record.path, offset=record.offset, length=record.nbytes)


def read_formats(
    inventory: Inventory, config: ModelConfig, *, read: ReadTensor = read_local_tensor
) -> Formats:
    """Formats from shapes and tq_bits; what `config` declares stands only where a tensor is missing.

    Raises BundleError for shapes that no format has.
    """
    bits = ProjectionBits(*(_expert_bits(inventory, config, projection, read) for projection in Projection))
    found = {
        name: _matrix_format(inventory, name, columns=columns, declared=config.affine)
        for name, _, columns in matrices(config)
    }
    counted = Counter(affine for affine in found.values() if affine is not None)
    affine = counted.most_common(1)[0][0] if counted else config.affine
    usual = replace(config, affine=affine, matrix_formats={})
    return Formats(bits, affine, {n: each for n, each in found.items() if each != usual.matrix_format(n)})


def corrections(
    formats: Formats,
    *,
    bits: tuple[DeclaredBits, ...],
    affine: tuple[DeclaredAffine, ...],
    layout: tuple[object, Layout],
) -> Iterator[str]:
    """What the tensors contradict, one sentence each."""
    for each in bits:
        if each.bits != formats.bits:
            yield f"{each.where} is {each.said!r:.80}, the experts have {formats.bits} bits"
    for declared in affine:
        name = declared.module
        found = formats.affine if name is None else formats.exceptions.get(name, formats.affine)
        if declared.affine != found:
            found_form = (
                "plain numbers" if found is None else f"{found.bits} bits in groups of {found.group_size}"
            )
            who = "the matrices have" if name is None else "it has"
            yield f"{declared.where} is {declared.said!r:.80}, {who} {found_form}"
    if layout[0] not in (None, layout[1]):
        yield f"{JANG_CONFIG_FILE}: routed_expert_layout is {layout[0]!r:.80}, the tensors are {layout[1]}"


def _expert_bits(inventory: Inventory, config: ModelConfig, projection: Projection, read: ReadTensor) -> int:
    """Of the first layer's first expert; whether all others have as many is checked with the schema."""
    declared = config.bits.of(projection)
    codes, stored = (_first(inventory, projection, part) for part in (Part.CODES, Part.BITS))
    if codes is None or stored is None or not codes.shape or stored.nbytes != 1:
        return declared
    fitting = [
        bits
        for bits in ALLOWED_BITS
        if words_per_row(config.in_features(projection), bits) == codes.shape[-1]
    ]
    value = read(stored)[0]
    if value in fitting:
        return value
    if fitting:
        return declared if declared in fitting else fitting[0]
    if value not in ALLOWED_BITS:
        raise BundleError(f"{stored.file}: tensor {stored.name!r}: {value} bits, allowed are {ALLOWED_BITS}")
    return value


def _first(inventory: Inventory, projection: Projection, part: Part) -> TensorRecord | None:
    """Of the first layer; a slice may hold any of its experts."""
    if inventory.layout is Layout.PRESTACKED:
        return inventory.tensors.get(stacked_name(0, projection, part))
    start, end = single_name(0, 0, projection=projection, part=part).split(".experts.0.")
    found = (
        name for name in inventory.tensors if name.startswith(f"{start}.experts.") and name.endswith(end)
    )
    return next((inventory.tensors[name] for name in found), None)


def _matrix_format(
    inventory: Inventory, name: str, *, columns: int, declared: AffineFormat
) -> AffineFormat | None:
    weight, scales = (inventory.tensors.get(f"{name}.{part}") for part in ("weight", "scales"))
    if scales is None:
        return None if weight is not None and weight.dtype in FLOATS else declared
    if weight is None or not weight.shape or not scales.shape:
        return declared
    bits, bits_left = divmod(32 * weight.shape[-1], columns)
    group_size, group_left = divmod(columns, scales.shape[-1] or columns + 1)
    whole = not bits_left and not group_left
    if not whole or bits not in ALLOWED_AFFINE_BITS or group_size not in ALLOWED_GROUP_SIZES:
        raise BundleError(
            f"{weight.file}: tensor {weight.name!r}: shape is {list(weight.shape)} with scales "
            f"{list(scales.shape)}, expected rows of {columns} values (by config.json) in "
            f"{_any_of(ALLOWED_AFFINE_BITS)} bits and groups of {_any_of(ALLOWED_GROUP_SIZES)}"
        )
    return AffineFormat(bits, group_size)


def _any_of(values: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, values[:-1]))} or {values[-1]}"
