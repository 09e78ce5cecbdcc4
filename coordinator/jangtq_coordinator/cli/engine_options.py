"""The command line's options for the engine, and the settings they become."""

import argparse
from pathlib import Path

from jangtq_coordinator.engine.chunk_size import SMALLEST
from jangtq_coordinator.engine.engine_config import GIB, KV_BITS, EngineSettings, KvSettings, Speculation


def add_engine(command: argparse.ArgumentParser) -> None:
    """How requests share passes and memory."""
    defaults = EngineSettings()
    command.add_argument(
        "--batch-size",
        type=int,
        default=defaults.batch_size,
        metavar="N",
        help="sequences that share a step (default: %(default)s)",
    )
    command.add_argument(
        "--queue-size",
        type=int,
        default=defaults.queue_size,
        metavar="N",
        help="requests that may wait for their turn; others are told to come back (default: %(default)s)",
    )
    command.add_argument(
        "--prefill-rows",
        type=int,
        default=defaults.prefill_rows,
        metavar="N",
        help="prompt tokens computed between two steps, at most (default: %(default)s)",
    )
    command.add_argument(
        "--prefill-ms",
        type=int,
        default=defaults.prefill_ms,
        metavar="MS",
        help="how long these may hold up a step, but for one in a hundred; computed are at least "
        f"{SMALLEST}, however long they take; 0 sets no limit (default: %(default)s)",
    )
    command.add_argument(
        "--speculation",
        type=Speculation,
        choices=tuple(Speculation),
        default=Speculation.AUTO,
        metavar="{" + ",".join(Speculation) + "}",
        help="guess tokens that the text has had before and check them in one step; auto guesses as far as "
        "it pays (default: %(default)s)",
    )
    _add_kv(command)


def _add_kv(command: argparse.ArgumentParser) -> None:
    defaults = KvSettings()
    command.add_argument(
        "--kv-memory",
        type=float,
        metavar="GIB",
        help="memory for the KV cache of running requests and kept prompts "
        "(default: three quarters of what is free once the model is loaded)",
    )
    command.add_argument(
        "--kv-bits",
        type=int,
        metavar="{" + ",".join(map(str, KV_BITS)) + "}",
        help="store the KV cache in so many bits a number (default: as the model computes it)",
    )
    command.add_argument(
        "--no-prompt-cache", action="store_true", help="keep no prompt for requests that begin alike"
    )
    command.add_argument(
        "--prompt-cache-dir",
        type=Path,
        metavar="DIR",
        help="keep prompts on disk too, across restarts; a folder is for one coordinator",
    )
    command.add_argument(
        "--prompt-cache-disk",
        type=float,
        default=defaults.disk_bytes / GIB,
        metavar="GIB",
        help="how much of the disk they may take (default: %(default)g)",
    )


def engine_settings(given: argparse.Namespace) -> EngineSettings:
    """The engine's part of a command line. Raises ConfigurationError."""
    return EngineSettings(
        batch_size=given.batch_size,
        prefill_rows=given.prefill_rows,
        prefill_ms=given.prefill_ms,
        queue_size=given.queue_size,
        kv=KvSettings(
            budget_bytes=None if given.kv_memory is None else int(given.kv_memory * GIB),
            bits=given.kv_bits,
            keep_prompts=not given.no_prompt_cache,
            disk_directory=given.prompt_cache_dir,
            disk_bytes=int(given.prompt_cache_disk * GIB),
        ),
        speculation=given.speculation,
    )
