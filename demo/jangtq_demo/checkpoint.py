"""Float checkpoints of the demo model: a directory like a Hugging Face one, weights in float16."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from jangtq_bundle.byte_tokenizer import BEGIN_OF_TEXT, END_OF_TURN
from jangtq_demo.model import DemoModel
from jangtq_demo.settings import ModelSize
from jangtq_demo.tokenizer import bundle_files, special_id

_WEIGHTS: Final = "model.safetensors"
_CONFIG: Final = "config.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a directory holds: configuration, float16 weights under mlx-lm's names, and the tokenizer."""

    config: Mapping[str, object]
    tensors: Mapping[str, NDArray[np.float16]]
    tokenizer: Tokenizer

    @property
    def size(self) -> ModelSize:
        return ModelSize(**{field.name: self.config[field.name] for field in fields(ModelSize)})  # type: ignore[arg-type]

    def build(self, device: torch.device) -> DemoModel:
        """The PyTorch model with these weights, in float32."""
        model = DemoModel(self.size)
        model.load_state_dict({name: torch.from_numpy(value).float() for name, value in self.tensors.items()})
        return model.to(device).eval()


def save_checkpoint(directory: Path, model: DemoModel, tokenizer: Tokenizer) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().half().cpu().numpy() for name, value in model.state_dict().items()}
    save_file(tensors, directory / _WEIGHTS)
    config = model.size.config(
        begin_of_text=special_id(tokenizer, BEGIN_OF_TEXT), end_of_turn=special_id(tokenizer, END_OF_TURN)
    )
    (directory / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name, content in bundle_files(tokenizer).items():
        (directory / name).write_bytes(content)


def load_checkpoint(directory: Path) -> Checkpoint:
    """Raises FileNotFoundError where the directory is none of ours."""
    config = json.loads((directory / _CONFIG).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    return Checkpoint(config, load_file(directory / _WEIGHTS), tokenizer)
