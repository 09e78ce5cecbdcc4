"""The smallest dense model that our writer takes, and changes to a written bundle."""

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from jangtq_bundle.byte_tokenizer import tokenizer_files
from jangtq_bundle.metadata import AFFINE_BITS, AFFINE_GROUP_SIZE
from jangtq_bundle.vocabulary import AffineFormat
from jangtq_bundle.writing.writer import DenseModel
from tests.support.small_checkpoints import Sizes, checkpoint_tensors, hugging_face_config

SMALL = Sizes(32, hidden_size=64, intermediate_size=32, layer_count=1, head_count=2, key_value_head_count=1)
SHARD = "model-00001-of-00001.safetensors"
PROJECTIONS = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
_PARTS = ("weight", "scales", "biases")

Tensors = dict[str, NDArray[np.generic]]


def dense_model(sizes: Sizes = SMALL, *, seed: int = 3) -> DenseModel:
    """The weights of a reference checkpoint under mlx-lm's names."""
    tensors = checkpoint_tensors(sizes, seed=seed)
    for layer in range(sizes.layer_count):
        moe = f"model.layers.{layer}.block_sparse_moe"
        for short, long in PROJECTIONS.items():
            stacked = [tensors.pop(f"{moe}.experts.{e}.{short}.weight") for e in range(sizes.expert_count)]
            tensors[f"{moe}.switch_mlp.{long}.weight"] = np.stack(stacked)
    return DenseModel(hugging_face_config(sizes), tensors, tokenizer_files())


def edit_json(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    members = json.loads(path.read_text())
    change(members)
    path.write_text(json.dumps(members))


def edit_tensors(bundle: Path, change: Callable[[Tensors], object]) -> None:
    """Change the tensors of a one-file bundle and let the index follow."""
    tensors: Tensors = load_file(bundle / SHARD)
    change(tensors)
    save_file(tensors, bundle / SHARD)
    index = {"weight_map": dict.fromkeys(tensors, SHARD)}
    (bundle / "model.safetensors.index.json").write_text(json.dumps(index))


def store_matrix(bundle: Path, name: str, form: AffineFormat | None) -> None:
    """Store one matrix of our writer's bundle in another form; None: as plain numbers."""
    stored = load_file(bundle / SHARD)
    weight, scales, biases = (mx.array(stored[f"{name}.{part}"]) for part in _PARTS)
    plain = mx.dequantize(weight, scales, biases, group_size=AFFINE_GROUP_SIZE, bits=AFFINE_BITS)
    found = [plain] if form is None else mx.quantize(plain, group_size=form.group_size, bits=form.bits)

    def change(tensors: Tensors) -> None:
        for part in _PARTS:
            del tensors[f"{name}.{part}"]
        tensors |= {f"{name}.{part}": np.array(values) for part, values in zip(_PARTS, found, strict=False)}

    edit_tensors(bundle, change)


def edit_header(file: Path, change: Callable[[dict[str, dict[str, object]]], object]) -> None:
    """Change the header of a safetensors file and leave its data alone."""
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    members = json.loads(content[8:end])
    change(members)
    write_header(file, json.dumps(members).encode(), content[end:])


def write_header(file: Path, header: bytes, data: bytes) -> None:
    file.write_bytes(len(header).to_bytes(8, "little") + header + data)
