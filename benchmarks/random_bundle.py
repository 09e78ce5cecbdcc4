"""Bundles of random codes, of any number of layers and MiniMax-M2.7's sizes or smaller.

Run as `python -m benchmarks.random_bundle DIR [--layers 62] [--profile JANGTQ2]`. The answers are noise,
the work is that of the real model. Several threads write a file a layer, at the speed of memory.
"""

import argparse
import json
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from jangtq_bundle.byte_tokenizer import BEGIN_OF_TEXT, END_OF_TURN, token_id, tokenizer_files
from jangtq_bundle.config import parse_config
from jangtq_bundle.directory import INDEX_FILE
from jangtq_bundle.holdings import Holdings
from jangtq_bundle.metadata import WriteOptions, bundle_config, encode_json, jang_config
from jangtq_bundle.schema import TensorRule, expected_tensors
from jangtq_bundle.vocabulary import PROFILE_BITS, Layout, Part, Projection, ProjectionBits, stacked_name

_ITEM_BYTES: Final = {"F16": 2, "U32": 4, "U8": 1}
_CODES: Final = np.random.default_rng(1).integers(0, 2**32, 1 << 24, dtype=np.uint32)
"""64 MiB of random words, which every tensor of codes repeats from a place of its own."""

_WRITERS: Final = 8
_DENSE_DEVIATION: Final = 0.02
"""Of the weights outside the experts; 8-bit codes are spread evenly over 255 steps."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a MiniMax-M2 model; the defaults are MiniMax-M2.7's."""

    layers: int = 62
    hidden: int = 3072
    intermediate: int = 1536
    experts: int = 256
    heads: int = 48
    key_value_heads: int = 8
    head_size: int = 128
    vocabulary: int = 200_064


def hugging_face_config(shape: Shape) -> dict[str, object]:
    """config.json of a checkpoint of this shape."""
    return {
        "architectures": ["MiniMaxM2ForCausalLM"],
        "model_type": "minimax_m2",
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "shared_intermediate_size": 0,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_size,
        "rotary_dim": shape.head_size // 2,
        "rope_theta": 5_000_000,
        "use_qk_norm": True,
        "rms_norm_eps": 1e-6,
        "num_local_experts": shape.experts,
        "num_experts_per_tok": 8,
        "scoring_func": "sigmoid",
        "use_routing_bias": True,
        "max_position_embeddings": 196_608,
        "tie_word_embeddings": False,
        "vocab_size": shape.vocabulary,
        "bos_token_id": token_id(BEGIN_OF_TEXT),
        "eos_token_id": token_id(END_OF_TURN),
    }


def write_random_bundle(path: Path, shape: Shape, *, profile: str = "JANGTQ2") -> Path:
    """A prestacked bundle, its files as large as the real ones. `path` must not exist."""
    options = WriteOptions("random", profile=profile)
    raw = bundle_config(hugging_face_config(shape), options, expert_count=shape.experts)
    jang = jang_config(options, original_expert_count=shape.experts)
    path.mkdir(parents=True)
    (path / "config.json").write_bytes(encode_json(raw))
    (path / "jang_config.json").write_bytes(encode_json(jang))
    for name, content in tokenizer_files().items():
        written = _widened(content, shape.vocabulary) if name == "tokenizer.json" else content
        (path / name).write_bytes(written)
    rules = list(expected_tensors(parse_config(raw, jang), Layout.PRESTACKED, Holdings.whole(shape.experts)))
    _write_files(path, rules, options.bits)
    return path


def _write_files(path: Path, rules: Sequence[TensorRule], bits: ProjectionBits) -> None:
    files: dict[str, list[TensorRule]] = {}
    for rule in rules:
        files.setdefault(_place(rule.name), []).append(rule)
    names = {place: f"model-{place}.safetensors" for place in files}
    index = {"metadata": {}, "weight_map": {rule.name: names[_place(rule.name)] for rule in rules}}
    (path / INDEX_FILE).write_bytes(encode_json(index))
    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(lambda place: _write_file(path / names[place], files[place], bits), files))


def _place(name: str) -> str:
    """Which file a tensor lies in: its layer's, or that of what belongs to no layer."""
    parts = name.split(".")
    return parts[2] if parts[1] == "layers" else "rest"


def _write_file(file: Path, rules: Sequence[TensorRule], bits: ProjectionBits) -> None:
    header: dict[str, dict[str, object]] = {}
    end = 0
    for rule in rules:
        dtype = rule.dtypes[0]
        start, end = end, end + _ITEM_BYTES[dtype] * prod(rule.shape)
        header[rule.name] = {"dtype": dtype, "shape": list(rule.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    with file.open("wb") as output:
        output.write(len(encoded).to_bytes(8, "little") + encoded)
        for rule in rules:
            for part in _parts(rule, bits):
                output.write(part.reshape(-1).data)


def _parts(rule: TensorRule, bits: ProjectionBits) -> Iterator[NDArray[np.generic]]:
    """A tensor's values in order."""
    if rule.dtypes[0] != "U32":
        yield _numbers(rule, bits)
        return
    count, first = prod(rule.shape), _seed(rule.name) % len(_CODES)
    while count > 0:
        yield _CODES[first : first + count]
        count, first = count - (len(_CODES) - first), 0


def _numbers(rule: TensorRule, bits: ProjectionBits) -> NDArray[np.generic]:
    """Values of a tensor that holds no packed codes; the magnitudes are those of a trained model."""
    random = np.random.default_rng(_seed(rule.name))
    if rule.name.endswith("tq_bits"):
        is_down = stacked_name(0, Projection.DOWN, Part.BITS).split(".")[-2] in rule.name
        return np.full(rule.shape, bits.down if is_down else bits.gate, dtype=np.uint8)
    if rule.name.endswith("tq_norms"):
        return random.uniform(0.5, 1.5, rule.shape).astype(np.float16)
    step = _DENSE_DEVIATION / (255 / 12**0.5)
    if rule.name.endswith(".scales"):
        return np.full(rule.shape, step, dtype=np.float16)
    if rule.name.endswith(".biases"):
        return np.full(rule.shape, -127.5 * step, dtype=np.float16)
    if rule.name.endswith("e_score_correction_bias"):
        return np.zeros(rule.shape, dtype=np.float16)
    if len(rule.shape) == 1:
        return np.ones(rule.shape, dtype=np.float16)
    return (_DENSE_DEVIATION * random.standard_normal(rule.shape, dtype=np.float32)).astype(np.float16)


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())


def _widened(tokenizer: bytes, vocabulary: int) -> bytes:
    """The byte tokenizer with a word for every further id, so that whatever is sampled can be read."""
    described = json.loads(tokenizer)
    words: dict[str, int] = described["model"]["vocab"]
    taken = set(words.values()) | {token["id"] for token in described["added_tokens"]}
    words.update({f"w{number}": number for number in range(vocabulary) if number not in taken})
    return json.dumps(described).encode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a bundle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    parser.add_argument("--layers", type=int, default=Shape.layers)
    parser.add_argument("--profile", choices=sorted(PROFILE_BITS), default="JANGTQ2")
    given = parser.parse_args(arguments)
    write_random_bundle(given.path, Shape(layers=given.layers), profile=given.profile)


if __name__ == "__main__":
    main()
