"""Bundles of any size that take no disk and no time: every weight is a zero in a hole of the file."""

import json
from math import prod
from pathlib import Path

from jangtq_bundle.byte_tokenizer import tokenizer_files
from jangtq_bundle.config import parse_config
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.metadata import WriteOptions, bundle_config, encode_json, jang_config
from jangtq_bundle.schema import TensorRule, expected_tensors
from jangtq_bundle.vocabulary import Layout
from tests.support.small_checkpoints import Sizes, hugging_face_config

_ITEM_BYTES = {"F16": 2, "U32": 4, "U8": 1}


def write_sparse_bundle(path: Path, sizes: Sizes, *, shared_intermediate_size: int = 0) -> Path:
    """A prestacked JANGTQ2 bundle of zeros."""
    options = WriteOptions("sparse")
    config = hugging_face_config(sizes) | {"shared_intermediate_size": shared_intermediate_size}
    raw = bundle_config(config, options, expert_count=sizes.expert_count)
    jang = jang_config(options, original_expert_count=sizes.expert_count)
    path.mkdir(parents=True)
    (path / "config.json").write_bytes(encode_json(raw))
    (path / "jang_config.json").write_bytes(encode_json(jang))
    for name, content in tokenizer_files().items():
        (path / name).write_bytes(content)
    whole = Holdings.whole(sizes.expert_count)
    rules = expected_tensors(parse_config(raw, jang), Layout.PRESTACKED, whole)
    _write_holes(path / "model.safetensors", list(rules))
    return path


def _write_holes(file: Path, rules: list[TensorRule]) -> None:
    header: dict[str, dict[str, object]] = {}
    bits_at: list[int] = []
    end = 0
    for rule in rules:
        dtype = rule.dtypes[0]
        start, end = end, end + _ITEM_BYTES[dtype] * prod(rule.shape)
        header[rule.name] = {"dtype": dtype, "shape": list(rule.shape), "data_offsets": [start, end]}
        if rule.name.endswith("tq_bits"):
            bits_at.append(start)
    encoded = json.dumps(header).encode()
    with file.open("wb") as output:
        output.write(len(encoded).to_bytes(8, "little") + encoded)
        data = output.tell()
        output.truncate(data + end)
        for offset in bits_at:
            output.seek(data + offset)
            output.write(b"\x02")
