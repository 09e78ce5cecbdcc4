"""A checkpoint into a bundle: shard by shard, on all cores, and on from where it was interrupted."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from safetensors.numpy import save

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.config import ModelConfig, parse_config
from jangtq_bundle.convert.checkpoint import Checkpoint
from jangtq_bundle.convert.rounding import RoundingName, open_rounding
from jangtq_bundle.convert.tasks import Task, plan_tasks
from jangtq_bundle.directory import CONFIG_FILE, INDEX_FILE, JANG_CONFIG_FILE, SIDECAR_FILE
from jangtq_bundle.hashes import HASHES_FILE, TensorHashes
from jangtq_bundle.json_files import Fields
from jangtq_bundle.metadata import WriteOptions, bundle_config, encode_json, jang_config, padded_count
from jangtq_bundle.shard_file import ShardFile, digests_path, read_digests
from jangtq_bundle.shard_plan import PlannedShard, index_json, plan_shards, shard_name
from jangtq_bundle.writer import sidecar_tables
from jangtq_proto.errors import ConfigurationError

OnProgress = Callable[[int, int], None]
"""Hears how many bytes of the bundle are written, and how many it will have."""

_PLAN_FILE: Final = "plan.json"
_SPARE_BYTES: Final = 64 * 2**20
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
    shards: tuple[PlannedShard, ...]
    digest: str


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
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(f"{target}: already there, expected a new or an empty directory")
    job = _prepare(Checkpoint.open(source), options)
    work = target.absolute().with_name(f".{target.name}.converting")
    _open_work(work, job)
    _write_shards(work, job, options.threads or os.cpu_count() or 1, on_progress)
    _write_rest(work, job, options.write)
    work.replace(target)
    return Bundle.open(target)


def _prepare(source: Checkpoint, options: ConversionOptions) -> _Job:
    count = Fields(CONFIG_FILE, source.config).integer("num_local_experts")
    config_json = bundle_config(source.config, options.write, expert_count=padded_count(count))
    jang_json = jang_config(options.write, original_expert_count=count)
    config = parse_config(config_json, jang_json)
    rounding = open_rounding(options.rounding)
    tasks = list(plan_tasks(config, options.write.layout, rounding))
    shards = plan_shards((task.tensors() for task in tasks), shard_bytes=options.write.shard_bytes)
    by_tensor = {task.tensors()[0].name: task for task in tasks}
    return _Job(source, config_json, jang_json, config, by_tensor, shards, _digest(source, options))


def _digest(source: Checkpoint, options: ConversionOptions) -> str:
    """Of all that decides about the bytes of the bundle."""
    headers = [[shard.name, shard.size, shard.header_sha256] for shard in source.inventory.shards]
    parts = {"source": headers, "config": source.config, "options": repr((options.write, options.rounding))}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _open_work(work: Path, job: _Job) -> None:
    plan = work / _PLAN_FILE
    if work.exists() and (not plan.exists() or plan.read_text() != job.digest):
        raise ConfigurationError(
            f"{work}: holds the beginning of another conversion: remove it, or convert to another directory"
        )
    try:
        work.mkdir(parents=True, exist_ok=True)
        plan.write_text(job.digest)
        room = shutil.disk_usage(work).free
    except OSError as error:
        raise ConfigurationError(f"{work}: cannot be written: {error.strerror}") from error
    count = len(job.shards)
    missing = sum(
        shard.nbytes for n, shard in enumerate(job.shards) if not (work / shard_name(n, count)).exists()
    )
    if missing + _SPARE_BYTES > room:
        raise ConfigurationError(
            f"{work}: {missing / 1e9:.2f} GB are to be written, {room / 1e9:.2f} GB are free"
        )


def _write_shards(work: Path, job: _Job, threads: int, on_progress: OnProgress) -> None:
    total, done = sum(shard.nbytes for shard in job.shards), 0
    with ThreadPoolExecutor(threads, thread_name_prefix="convert") as pool:
        for number, shard in enumerate(job.shards):
            path = work / shard_name(number, len(job.shards))
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


def _write_rest(work: Path, job: _Job, options: WriteOptions) -> None:
    count = len(job.shards)
    paths = [work / shard_name(number, count) for number in range(count)]
    files = {
        INDEX_FILE: index_json(job.shards),
        SIDECAR_FILE: save(sidecar_tables(job.config)),
        CONFIG_FILE: encode_json(job.config_json),
        JANG_CONFIG_FILE: encode_json(job.jang_json),
    }
    for name, content in files.items():
        (work / name).write_bytes(content)
    for path in _companions(job.source.directory.root):
        shutil.copyfile(path, work / path.name)
    _write_hashes(work, paths)
    for path in paths:
        digests_path(path).unlink(missing_ok=True)
    (work / _PLAN_FILE).unlink()


def _write_hashes(work: Path, paths: Sequence[Path]) -> None:
    if (work / HASHES_FILE).exists():  # an earlier run came so far, and may have removed what it is made of
        return
    digests = {name: parts for path in paths for name, parts in read_digests(path).items()}
    draft = work / f".{HASHES_FILE}"
    draft.write_bytes(TensorHashes(dict(sorted(digests.items()))).to_json())
    draft.replace(work / HASHES_FILE)


def _companions(source: Path) -> Iterator[Path]:
    """Tokenizer, template and generation settings: all small text files but programs."""
    for path in sorted(source.iterdir()):
        is_text = path.suffix in (".json", ".jinja", ".txt", ".model", ".md")
        if path.is_file() and is_text and path.name not in _NOT_COPIED and not path.name.startswith("."):
            yield path
