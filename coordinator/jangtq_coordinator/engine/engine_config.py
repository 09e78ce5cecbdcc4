"""How the engine shares its memory and its passes among requests, as the command line chooses it."""

from dataclasses import dataclass
from enum import StrEnum

from jangtq_coordinator.engine.chunk_size import SMALLEST
from jangtq_coordinator.kv.kv_config import KvSettings
from jangtq_proto.options import MILLISECONDS, Group, Option, Settings
from jangtq_proto.wire.limits import MAX_ROWS_PER_CALL


class Speculation(StrEnum):
    """Whether tokens are guessed ahead; the values of `--speculation`."""

    OFF = "off"
    ON = "on"
    AUTO = "auto"


@dataclass(frozen=True)
class EngineSettings(Settings):
    """How many requests run and wait, and how their prompts and answers share passes.

    retry_seconds: how long a pass that the cluster failed is tried again.
    grace_seconds: how long running answers may go on once the engine is to stop.
    """

    batch_size: int = Option(
        "--batch-size", group=Group.TUNING, least=1, most=256, help="sequences that share a step"
    ).default(16)
    prefill_rows: int = Option(
        "--prefill-rows",
        group=Group.TUNING,
        least=1,
        most=MAX_ROWS_PER_CALL,
        help="prompt tokens computed between two steps, at most",
    ).default(512)
    prefill_ms: int = Option(
        "--prefill-ms",
        group=Group.TUNING,
        least=0,
        most=60_000,
        unit=MILLISECONDS,
        help="how long these may hold up a step, except one step in a hundred; at least "
        f"{SMALLEST} tokens are computed, however long they take; 0 sets no limit",
    ).default(200)
    queue_size: int = Option(
        "--queue-size",
        group=Group.TUNING,
        least=0,
        most=65_536,
        help="requests that may wait for a place; further ones get status 429 and when to come back",
    ).default(256)
    kv: KvSettings = KvSettings()
    speculation: Speculation = Option(
        "--speculation",
        group=Group.TUNING,
        help="guess tokens that the text has had before and check them in one step; "
        "auto guesses as far as it pays",
    ).default(Speculation.AUTO)
    retry_seconds: float = 5.0
    grace_seconds: float = 10.0
