"""The options of the commands that ask a running coordinator. Imports little, for a quick `--help`."""

from dataclasses import dataclass
from typing import Final

from jangtq_coordinator.cli.command_settings import DEFAULT_URL, TEMPERATURE, URL
from jangtq_proto.options import SECONDS, Option, Settings

_JSON: Final = Option("--json", help="print JSON, for programs")


@dataclass(frozen=True)
class StatusSettings(Settings):
    """What `status` shows, and how often."""

    url: str = URL.default(DEFAULT_URL)
    watch: bool = Option("--watch", help="show it anew until Ctrl-C").default(False)
    every_seconds: float = Option(
        "--every", above=0, most=3600, unit=SECONDS, help="how often --watch asks"
    ).default(1.0)
    json: bool = _JSON.default(False)


@dataclass(frozen=True)
class InfoSettings(Settings):
    """Which coordinator `info` describes."""

    url: str = URL.default(DEFAULT_URL)
    json: bool = _JSON.default(False)


@dataclass(frozen=True)
class ChatSettings(Settings):
    """How `chat` talks."""

    url: str = URL.default(DEFAULT_URL)
    system: str | None = Option("--system", help="a system message before the conversation").default(None)
    max_tokens: int = Option("--max-tokens", least=1, help="the longest answer").default(4096)
    temperature: float | None = TEMPERATURE.default(None)
    thinking: bool = Option("--thinking", help="show the whole reasoning, not its newest line").default(False)


@dataclass(frozen=True)
class BenchSettings(Settings):
    """What `bench` asks of a coordinator."""

    url: str = URL.default(DEFAULT_URL)
    sequences: int = Option("--sequences", least=1, most=256, help="answers at once").default(1)
    prompt_words: int = Option("--prompt-words", least=1, most=100_000, help="words of each prompt").default(
        64
    )
    max_tokens: int = Option("--max-tokens", least=2, most=100_000, help="tokens of each answer").default(64)
    rounds: int = Option("--rounds", least=1, most=1000, help="how often; the first is not counted").default(
        3
    )
    json: bool = _JSON.default(False)
