"""The options of each command of `jangtq-bundle`, stated once. Imports no array library."""

from dataclasses import dataclass, field
from pathlib import Path

from jangtq_bundle.choices import PROFILES, LayoutName, ProfileBits, RoundingName, parse_profile
from jangtq_proto.errors import ConfigurationError
from jangtq_proto.options import Group, Option, Settings
from jangtq_proto.ranges import ExpertRange, parse_ranges

_EXPERTS = Option(
    "--experts",
    group=Group.MODEL,
    placeholder="RANGES",
    parse=parse_ranges,
    help="only these experts, for a worker, such as 0-127",
)
_COORDINATOR = Option(
    "--coordinator",
    group=Group.MODEL,
    help="everything but the experts, for a coordinator; with --experts, those too",
)


@dataclass(frozen=True)
class GetSettings(Settings):
    """Which model of the hub, and which part of it."""

    model: str = field(
        metadata=Option("model", placeholder="ORG/NAME", help="a model of the Hugging Face hub").metadata
    )
    ranges: tuple[ExpertRange, ...] = _EXPERTS.default(())
    coordinator: bool = _COORDINATOR.default(False)
    revision: str | None = Option(
        "--revision", group=Group.MODEL, help="a branch, tag or commit", otherwise="main"
    ).default(None)
    target: Path | None = Option(
        "--to",
        group=Group.MODEL,
        placeholder="DIR",
        help="where to write it",
        otherwise="the hub's cache, where --model ORG/NAME finds it",
    ).default(None)


@dataclass(frozen=True)
class SliceSettings(Settings):
    """Which part of which bundle."""

    source: Path = field(metadata=Option("source", placeholder="DIR", help="a bundle").metadata)
    target: Path = field(metadata=Option("target", placeholder="OUT", help="a new directory").metadata)
    ranges: tuple[ExpertRange, ...] = _EXPERTS.default(())
    coordinator: bool = _COORDINATOR.default(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ranges and not self.coordinator:
            raise ConfigurationError("name what to keep: --experts RANGES for a worker, or --coordinator")


@dataclass(frozen=True)
class ConvertSettings(Settings):
    """Which checkpoint, and into what."""

    source: Path = field(metadata=Option("source", placeholder="SRC", help="a checkpoint").metadata)
    target: Path = field(metadata=Option("target", placeholder="OUT", help="a new directory").metadata)
    profile: ProfileBits = Option(
        "--profile",
        group=Group.MODEL,
        placeholder="PROFILE",
        parse=parse_profile,
        otherwise="JANGTQ2",
        help="JANGTQ2, JANGTQ3, JANGTQ4, JANGTQ_K (2, 2 and 4 bits), or bits of gate/up/down such as 2/2/3",
    ).default(PROFILES["JANGTQ2"])
    layout: LayoutName = Option(
        "--layout", group=Group.MODEL, help="experts of a layer in one tensor, or one by one"
    ).default(LayoutName.PRESTACKED)
    rounding: RoundingName = Option(
        "--rounding",
        group=Group.TUNING,
        help="nearest is what the reference converter does; unit-gain keeps how loud each row answers",
    ).default(RoundingName.NEAREST)
    threads: int | None = Option(
        "--threads", group=Group.TUNING, least=1, most=1024, help="threads", otherwise="all cores"
    ).default(None)


@dataclass(frozen=True)
class VerifySettings(Settings):
    """Which bundle, and what it was made of."""

    bundle: Path = field(metadata=Option("bundle", placeholder="DIR", help="a bundle or a slice").metadata)
    source: Path | None = Option(
        "--source",
        group=Group.MODEL,
        placeholder="SRC",
        help="the checkpoint it was made of, for the error of each tensor",
    ).default(None)
    rows: int = Option(
        "--rows", group=Group.TUNING, least=1, help="rows of each matrix that are held against the source"
    ).default(64)


@dataclass(frozen=True)
class InfoSettings(Settings):
    """Which bundle."""

    bundle: Path = field(metadata=Option("bundle", placeholder="DIR", help="a bundle or a slice").metadata)
