"""How the KV cache is stored and kept, as the command line chooses it."""

from dataclasses import dataclass
from pathlib import Path

from jangtq_proto.errors import ConfigurationError
from jangtq_proto.options import GIBIBYTES, Group, Option, Settings


@dataclass(frozen=True)
class KvSettings(Settings):
    """Form and memory of the KV cache, and where the prefix cache keeps prompts after requests end."""

    budget_bytes: int | None = Option(
        "--kv-memory",
        group=Group.TUNING,
        above=0,
        unit=GIBIBYTES,
        otherwise="three quarters of what is free once the model is loaded",
        help="memory for the KV cache of running requests and kept prompts",
    ).default(None)
    bits: int | None = Option(
        "--kv-bits",
        group=Group.TUNING,
        choices=(8, 4),
        otherwise="as the model computes it",
        help="store the KV cache in so many bits a number",
    ).default(None)
    keep_prompts: bool = Option(
        "--no-prompt-cache",
        group=Group.TUNING,
        help="keep no prompt for requests that begin alike",
    ).default(True)
    disk_directory: Path | None = Option(
        "--prompt-cache-dir",
        group=Group.TUNING,
        placeholder="DIR",
        otherwise="memory only",
        help="keep prompts on disk too, across restarts; a folder is for one coordinator",
    ).default(None)
    disk_bytes: int = Option(
        "--prompt-cache-disk",
        group=Group.TUNING,
        above=0,
        unit=GIBIBYTES,
        help="how much of the disk kept prompts may take",
    ).default(20 * GIBIBYTES.size)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.disk_directory is not None and not self.keep_prompts:
            raise ConfigurationError("--prompt-cache-dir needs the prompt cache: leave out --no-prompt-cache")
