"""Writes a JANGTQ directory from dense weights, as the reference converter would. Opens no other bundle."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from jangtq_bundle.bundle import Bundle
from jangtq_bundle.config import ModelConfig, parse_config
from jangtq_bundle.directory import CONFIG_FILE, JANG_CONFIG_FILE, SIDECAR_FILE
from jangtq_bundle.hashes import HASHES_FILE, compute_hashes
from jangtq_bundle.json_files import Fields
from jangtq_bundle.metadata import WriteOptions, bundle_config, encode_json, jang_config, padded_count
from jangtq_bundle.tables import compute_table, sidecar_names
from jangtq_bundle.vocabulary import Projection
from jangtq_bundle.writing.encoding import Encoder
from jangtq_bundle.writing.shard_writer import ShardWriter
from jangtq_proto.errors import ConfigurationError

Tensors = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True)
class DenseModel:
    """A model to be written: its Hugging Face configuration, its weights and its tokenizer's files.

    tensors: float arrays under mlx-lm's names; the experts of a layer are stacked as
    `...switch_mlp.{gate,up,down}_proj.weight` [experts, out, in], every other matrix is [out, in].
    """

    config: Mapping[str, object]
    tensors: Tensors
    tokenizer_files: Mapping[str, bytes]


def write_bundle(path: Path, model: DenseModel, options: WriteOptions) -> None:
    """Write a directory beside `path`, check it as a reader would, and move it to `path`.

    `path` must be new or empty. The same input gives the same bytes. Raises ConfigurationError for a path
    that is taken and BundleError for a model that lacks a tensor or has one too many.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigurationError(f"{path}: already there, expected a new or an empty directory")
    work = path.with_name(f".{path.name}-{os.getpid()}")
    work.mkdir(parents=True)
    try:
        _write_files(work, model, options)
        add_hashes(work)
        work.replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def add_hashes(path: Path) -> Bundle:
    """Read all weights of a bundle that has no hashes once, and write them beside.

    Raises BundleError for a bundle that cannot be read and ConfigurationError when nothing can be written.
    """
    content = compute_hashes(Bundle.open(path).inventory).to_json()
    draft = path / f".{HASHES_FILE}"
    try:
        draft.write_bytes(content)
        draft.replace(path / HASHES_FILE)
    except OSError as error:
        raise ConfigurationError(f"{path / HASHES_FILE}: cannot be written: {error.strerror}") from error
    return Bundle.open(path)


def _write_files(path: Path, model: DenseModel, options: WriteOptions) -> None:
    original_count = Fields(CONFIG_FILE, model.config).integer("num_local_experts")
    config_json = bundle_config(model.config, options, expert_count=padded_count(original_count))
    jang_json = jang_config(options, original_expert_count=original_count)
    config = parse_config(config_json, jang_json)
    shards = ShardWriter(path, shard_bytes=options.shard_bytes)
    encoder = Encoder(config, options.layout)
    for name in sorted(model.tensors):
        shards.add(encoder.encode(name, model.tensors[name]))
    shards.finish()
    (path / SIDECAR_FILE).write_bytes(save(sidecar_tables(config)))
    (path / CONFIG_FILE).write_bytes(encode_json(config_json))
    (path / JANG_CONFIG_FILE).write_bytes(encode_json(jang_json))
    for name, content in model.tokenizer_files.items():
        (path / name).write_bytes(content)


def sidecar_tables(config: ModelConfig) -> dict[str, NDArray[np.float32]]:
    tables: dict[str, NDArray[np.float32]] = {}
    for projection in Projection:
        codebook_name, signs_name = sidecar_names(config, projection)
        table = compute_table(config, projection)
        tables |= {codebook_name: table.codebook, signs_name: table.signs}
    return tables
