"""Converts a checkpoint to a bundle, shard by shard on all cores. An interrupted conversion continues."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from safetensors.numpy import save

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.choices import RoundingName
from jangtq_bundle.config import ModelConfig, parse_config
from jangtq_bundle.convert.checkpoint import Checkpoint
from jangtq_bundle.convert.rounding import open_rounding
from jangtq_bundle.convert.tasks import Task, plan_tasks
from jangtq_bundle.directory import CONFIG_FILE, INDEX_FILE, JANG_CONFIG_FILE, SIDECAR_FILE
from jangtq_bundle.hashes import HASHES_FILE
from jangtq_bundle.json_files import Fields
from jangtq_bundle.metadata import WriteOptions, bundle_config, encode_json, jang_config, padded_count
from jangtq_bundle.writing.shard_file import ShardFile
from jangtq_bundle.writing.shard_plan import PlannedShard, plan_shards
from jangtq_bundle.writing.unfinished import OnProgress, UnfinishedBundle, check_target
from jangtq_bundle.writing.writer import sidecar_tables

_NOT_COPIED: Final = (CONFIG_FILE, INDEX_FILE, JANG_CONFIG_FILE, SIDECAR_FILE, HASHES_FILE)


@dataclass(frozen=True)
class ConversionOptions:
    """How a checkpoint is converted; `threads` of None are all cores."""

    write: WriteOptions
    rounding: RoundingName = RoundingName.NEAREST
    threads: int | None = None


@dataclass(frozen=True)
class _Job:
    """Everything that is decided before the first byte is written."""

    source: Checkpoint
    config_json: Mapping[str, object]
    jang_json: Mapping[str, object]
    config: ModelConfig
    tasks: Mapping[str, Task]
    target: UnfinishedBundle


def convert(
    source: Path,
    target: Path,
    options: ConversionOptions,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> Bundle:
    """Write a bundle beside `target` and move it there; a conversion that was interrupted goes on.

    The same input and options give the same bytes, however often it was interrupted. Raises
    ConfigurationError for a target that is taken or a disk without room, BundleError for a source that lacks
    something.
    """
    check_target(target)
    job = _prepare(Checkpoint.open(source), target, options)
    job.target.open()
    _write_shards(job, options.threads or os.cpu_count() or 1, on_progress)
    job.target.finish(dict(_other_files(job)))
    return Bundle.open(target)


def _prepare(source: Checkpoint, target: Path, options: ConversionOptions) -> _Job:
    count = Fields(CONFIG_FILE, source.config).integer("num_local_experts")
    config_json = bundle_config(source.config, options.write, expert_count=padded_count(count))
    jang_json = jang_config(options.write, original_expert_count=count)
    if options.rounding is not RoundingName.NEAREST:  # part of the fingerprint, whose samples may miss norms
        jang_json["rounding"] = options.rounding.value
    config = parse_config(config_json, jang_json)
    rounding = open_rounding(options.rounding)
    tasks = list(plan_tasks(config, options.write.layout, rounding))
    shards = plan_shards((task.tensors() for task in tasks), shard_bytes=options.write.shard_bytes)
    by_tensor = {task.tensors()[0].name: task for task in tasks}
    unfinished = UnfinishedBundle(target, shards, _digest(source, options))
    return _Job(source, config_json, jang_json, config, by_tensor, unfinished)


def _digest(source: Checkpoint, options: ConversionOptions) -> str:
    """Of all that decides about the bytes of the bundle."""
    headers = [[shard.name, shard.size, shard.header_sha256] for shard in source.inventory.shards]
    parts = {"source": headers, "config": source.config, "options": repr((options.write, options.rounding))}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _write_shards(job: _Job, threads: int, on_progress: OnProgress) -> None:
    shards = job.target.shards
    total, done = sum(shard.nbytes for shard in shards), 0
    with ThreadPoolExecutor(threads, thread_name_prefix="convert") as pool:
        for number, shard in enumerate(shards):
            path = job.target.shard_path(number)
            if not path.exists():
                _write_shard(path, shard, job, pool, partial(_report, on_progress, done, total))
            done += shard.nbytes
            on_progress(done, total)


def _report(on_progress: OnProgress, done: int, total: int, part: int) -> None:
    on_progress(done + part, total)


def _write_shard(
    path: Path, shard: PlannedShard, job: _Job, pool: ThreadPoolExecutor, on_part: Callable[[int], None]
) -> None:
    target = ShardFile(path, shard)
    tasks = [job.tasks[tensor.name] for tensor in shard.tensors if tensor.name in job.tasks]
    steps = [step for task in tasks for step in task.steps()]
    try:
        futures = [pool.submit(step, job.source, target) for step in steps]
        for number, future in enumerate(futures, start=1):
            future.result()
            on_part(shard.nbytes * number // len(steps))
    except BaseException:
        for future in futures:
            future.cancel()
        wait([future for future in futures if not future.cancelled()])
        target.abandon()
        raise
    target.finish()


def _other_files(job: _Job) -> Iterator[tuple[str, bytes]]:
    yield SIDECAR_FILE, save(sidecar_tables(job.config))
    yield CONFIG_FILE, encode_json(job.config_json)
    yield JANG_CONFIG_FILE, encode_json(job.jang_json)
    for path in _companions(job.source.directory.root):
        yield path.name, path.read_bytes()


def _companions(source: Path) -> Iterator[Path]:
    """Tokenizer, template and generation settings: all small text files but programs."""
    for path in sorted(source.iterdir()):
        is_text = path.suffix in (".json", ".jinja", ".txt", ".model", ".md")
        if path.is_file() and is_text and path.name not in _NOT_COPIED and not path.name.startswith("."):
            yield path
