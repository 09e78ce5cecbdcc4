"""What part of a model a directory holds, and the file of a slice that says so. Reads no weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from jangtq_bundle.json_files import Fields
from jangtq_bundle.metadata import encode_json
from jangtq_proto.errors import BundleError, ConfigurationError
from jangtq_proto.ranges import expert_ids, format_ranges, parse_ranges, ranges_of

SLICE_FILE: Final = "jangtq_slice.json"
_FORMAT: Final = 1


@dataclass(frozen=True)
class Holdings:
    """The routed experts that are there, ascending, and whether everything else is."""

    experts: tuple[int, ...]
    has_dense: bool

    @classmethod
    def whole(cls, expert_count: int) -> "Holdings":
        """All of a model."""
        return cls(tuple(range(expert_count)), has_dense=True)

    def __str__(self) -> str:
        dense = "everything but the experts" if self.has_dense else ""
        experts = f"experts {format_ranges(ranges_of(self.experts))}" if self.experts else ""
        return " and ".join(part for part in (experts, dense) if part) or "nothing"


@dataclass(frozen=True)
class SliceFacts:
    """What a slice keeps of the whole bundle: its fingerprint, and float64 [layers] as `layer_scales`."""

    holdings: Holdings
    fingerprint: str
    layer_scales: tuple[float, ...]

    def to_json(self) -> bytes:
        """The content of the file; scales as hexadecimal, exact to the bit."""
        return encode_json(
            {
                "format": _FORMAT,
                "experts": format_ranges(ranges_of(self.holdings.experts)) if self.holdings.experts else "",
                "has_dense": self.holdings.has_dense,
                "fingerprint": self.fingerprint,
                "layer_scales": [scale.hex() for scale in self.layer_scales],
            }
        )


def parse_slice(members: Mapping[str, object]) -> SliceFacts:
    """Raises BundleError naming the member that is wrong."""
    fields = Fields(SLICE_FILE, members)
    fields.integer("format", least=_FORMAT, most=_FORMAT)
    experts = fields.text("experts")
    try:
        held = expert_ids(parse_ranges(experts)) if experts else ()
    except ConfigurationError as error:
        raise BundleError(f"{SLICE_FILE}: experts: {error}") from error
    return SliceFacts(
        Holdings(tuple(held), fields.flag("has_dense", default=False)),
        fields.text("fingerprint"),
        tuple(_scales(members.get("layer_scales"))),
    )


def _scales(value: object) -> list[float]:
    if not isinstance(value, list) or not all(isinstance(scale, str) for scale in value):
        raise BundleError(f"{SLICE_FILE}: layer_scales is {value!r:.80}, expected hexadecimal floats")
    try:
        return [float.fromhex(scale) for scale in value]
    except ValueError as error:
        raise BundleError(f"{SLICE_FILE}: layer_scales: {error}") from None
