"""How the engine shares its memory and its passes among requests, checked."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from jangtq_proto.errors import ConfigurationError
from jangtq_proto.wire.limits import MAX_ROWS_PER_CALL

GIB: Final = 2**30
KV_BITS: Final = (8, 4)


class Speculation(StrEnum):
    """Whether tokens are guessed ahead; the values are those of `--speculation`."""

    OFF = "off"
    ON = "on"
    AUTO = "auto"


@dataclass(frozen=True)
class KvSettings:
    """How KV is stored, how many bytes of it there may be (None: by what is free), and what is kept of it.

    disk_directory: where kept prompts outlive the process, in at most `disk_bytes` (None: nowhere).
    """

    budget_bytes: int | None = None
    bits: int | None = None
    keep_prompts: bool = True
    disk_directory: Path | None = None
    disk_bytes: int = 20 * GIB

    def __post_init__(self) -> None:
        if self.budget_bytes is not None and self.budget_bytes < 1:
            raise ConfigurationError(f"--kv-memory {self.budget_bytes / GIB:g}: allowed are GiB above 0")
        if self.bits is not None and self.bits not in KV_BITS:
            raise ConfigurationError(f"--kv-bits {self.bits}: allowed are {' and '.join(map(str, KV_BITS))}")
        if self.disk_bytes < 1:
            raise ConfigurationError(
                f"--prompt-cache-disk {self.disk_bytes / GIB:g}: allowed are GiB above 0"
            )
        if self.disk_directory is not None and not self.keep_prompts:
            raise ConfigurationError("--prompt-cache-dir needs the prompt cache: leave out --no-prompt-cache")


@dataclass(frozen=True)
class EngineSettings:
    """`batch_size` sequences have KV at once, and `queue_size` more may wait.

    A prompt's chunk has at most `prefill_rows` tokens, and while others decode it takes at most `prefill_ms`,
    but for one in a hundred (0: as long as it takes). A pass that the cluster failed is tried again for
    `patience_seconds`.
    """

    batch_size: int = 16
    prefill_rows: int = 512
    prefill_ms: int = 200
    queue_size: int = 256
    kv: KvSettings = KvSettings()
    speculation: Speculation = Speculation.OFF
    patience_seconds: float = 5.0
    grace_seconds: float = 10.0

    def __post_init__(self) -> None:
        for option, value, least, most in (
            ("--batch-size", self.batch_size, 1, 256),
            ("--prefill-rows", self.prefill_rows, 1, MAX_ROWS_PER_CALL),
            ("--prefill-ms", self.prefill_ms, 0, 60_000),
            ("--queue-size", self.queue_size, 0, 65_536),
            ("retry_window", self.patience_seconds, 0, 86_400),
            ("grace", self.grace_seconds, 0, 86_400),
        ):
            if not least <= value <= most:
                raise ConfigurationError(f"{option} {value:g}: allowed are {least} to {most}")
