"""What the two JSON files of a bundle say about its number formats: in many spellings, and not always right.

The tensors decide (see formats.py); nothing that stands here is an error.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from jangtq_bundle.directory import CONFIG_FILE, JANG_CONFIG_FILE
from jangtq_bundle.vocabulary import (
    ALLOWED_BITS,
    PROFILE_ALIASES,
    PROFILE_BITS,
    AffineFormat,
    Projection,
    ProjectionBits,
)

Members = Mapping[str, object]
_ROUTED: Final = "routed_expert"


@dataclass(frozen=True)
class DeclaredBits:
    """Bits of the routed experts that one member declares; None for what cannot be read."""

    where: str
    bits: ProjectionBits | None
    said: object


@dataclass(frozen=True)
class DeclaredAffine:
    """The format of all matrices, or of the one called `module`; None for what cannot be read."""

    where: str
    affine: AffineFormat | None
    said: object
    module: str | None = None


def declared_bits(config: Members, jang_config: Members) -> tuple[DeclaredBits, ...]:
    """All declarations about routed experts, the most reliable first."""
    return (
        *_mxtq_bits(JANG_CONFIG_FILE, jang_config),
        *_mxtq_bits(CONFIG_FILE, config),
        *_split_bits(config),
        *_profile(jang_config),
    )


def declared_affine(config: Members) -> tuple[DeclaredAffine, ...]:
    """What `quantization` says about every other matrix: for all of them first."""
    quantization = config.get("quantization")
    if not isinstance(quantization, Mapping):
        return ()
    where = f"{CONFIG_FILE}: quantization"
    modules = (
        DeclaredAffine(f"{where}: {name}", _affine(said), said, name)
        for name, said in quantization.items()
        if isinstance(said, Mapping) and "bits" in said
    )
    said = {name: quantization[name] for name in ("bits", "group_size", "mode") if name in quantization}
    return (DeclaredAffine(where, _affine(quantization), said), *modules)


def _mxtq_bits(file: str, members: Members) -> Iterator[DeclaredBits]:
    if (said := members.get("mxtq_bits")) is None:
        return
    routed = said.get(_ROUTED, said) if isinstance(said, Mapping) else said
    yield DeclaredBits(f"{file}: mxtq_bits", _projection_bits(routed), routed)


def _split_bits(config: Members) -> Iterator[DeclaredBits]:
    """Two members that converters of some families write."""
    names = ("mxtq_gate_up_bits", "mxtq_down_bits")
    if all(config.get(name) is not None for name in names):
        gate_up, down = said = [config[name] for name in names]
        routed = {"gate_proj": gate_up, "up_proj": gate_up, "down_proj": down}
        yield DeclaredBits(f"{CONFIG_FILE}: {' and '.join(names)}", _projection_bits(routed), said)


def _profile(jang_config: Members) -> Iterator[DeclaredBits]:
    """Model cards also use names without a meaning of their own, such as JANGTQ."""
    said = jang_config.get("profile")
    name = said.upper() if isinstance(said, str) else ""
    if (profile := PROFILE_ALIASES.get(name, name)) in PROFILE_BITS:
        yield DeclaredBits(f"{JANG_CONFIG_FILE}: profile", PROFILE_BITS[profile], said)


def _projection_bits(said: object) -> ProjectionBits | None:
    values = [said.get(p.value) for p in Projection] if isinstance(said, Mapping) else [said] * 3
    bits = [value for value in values if type(value) is int and value in ALLOWED_BITS]
    return ProjectionBits(*bits) if len(bits) == len(values) else None


def _affine(said: Members) -> AffineFormat | None:
    bits, group_size = said.get("bits"), said.get("group_size")
    if type(bits) is not int or type(group_size) is not int or said.get("mode", "affine") != "affine":
        return None
    return AffineFormat(bits, group_size)
