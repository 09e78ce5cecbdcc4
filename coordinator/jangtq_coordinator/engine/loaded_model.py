"""A model that is ready to generate, with the generation settings of its files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import mlx.core as mx

from jangtq_coordinator.kv.budget import KvShape
from jangtq_coordinator.metrics.dense_report import DenseReport
from jangtq_coordinator.metrics.timeline import Timeline
from jangtq_coordinator.mlx_lm import TokenizerWrapper
from jangtq_coordinator.readiness import Readiness
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_coordinator.text.capabilities import Capabilities
from jangtq_proto.errors import BundleError, RequestError


class LanguageModel(Protocol):
    """A model with mlx-lm's interface. It may block on the network and may raise in the middle of a pass."""

    def __call__(self, inputs: mx.array, *, cache: list[object]) -> mx.array:
        """inputs: [rows, tokens] ids; returns logits [rows, tokens, vocabulary] and extends the KV cache."""
        ...


@runtime_checkable
class LastLogits(Protocol):
    """A model that can compute the logits of the last position only: a prefill needs no others."""

    def last_logits(self, inputs: mx.array, *, cache: list[object]) -> mx.array:
        """inputs: [rows, tokens] ids; returns logits [rows, vocabulary] of the last position."""
        ...


@dataclass(frozen=True)
class GenerationConfig:
    """Settings of generation_config.json; the model card's values where it states none."""

    sampling: SamplingParameters = SamplingParameters()
    eos_token_ids: frozenset[int] = frozenset()


@dataclass(frozen=True)
class LoadedModel:
    """Everything that generation needs. Clients call the model `name`; `context_length` counts tokens.

    A pass that waits for the cluster calls `readiness`. `neighbour_bytes` are of experts
    that worker processes hold on this machine's GPU.
    """

    model: LanguageModel
    tokenizer: TokenizerWrapper
    name: str
    context_length: int
    kv_shape: KvShape
    fingerprint: str = ""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    readiness: Readiness = field(default_factory=Readiness)
    capabilities: Capabilities = field(default_factory=Capabilities)
    dense: DenseReport = DenseReport()
    timeline: Timeline = field(default_factory=Timeline)
    neighbour_bytes: int = 0

    @property
    def stop_tokens(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return frozenset(self.tokenizer.eos_token_ids) | self.generation.eos_token_ids


def read_generation_config(directory: Path) -> GenerationConfig:
    """Read generation_config.json of a model's directory, where there is one. Raises BundleError."""
    path = directory / "generation_config.json"
    if not path.exists():
        return GenerationConfig()
    try:
        config = json.loads(path.read_bytes())
        if not isinstance(config, dict):
            raise TypeError(f"a {type(config).__name__} where an object belongs")
        return GenerationConfig(_sampling(config), _token_ids(config.get("eos_token_id")))
    except (ValueError, TypeError, RequestError) as error:
        raise BundleError(f"{path}: {error}") from error


def _sampling(config: Mapping[str, object]) -> SamplingParameters:
    if config.get("do_sample") is False:
        return SamplingParameters(temperature=0)
    top_k = _number(config, "top_k")
    return SamplingParameters().override(
        temperature=_number(config, "temperature"),
        top_p=_number(config, "top_p"),
        # Some files state -1 for no limit.
        top_k=None if top_k is None else max(0, int(top_k)),
        min_p=_number(config, "min_p"),
        repetition_penalty=_number(config, "repetition_penalty"),
    )


def _number(config: Mapping[str, object], key: str) -> float | None:
    value = config.get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise TypeError(f"{key} is {value!r}, expected a number")


def _token_ids(value: object) -> frozenset[int]:
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(token, int) and token >= 0 for token in ids):
        raise TypeError(f"eos_token_id is {value!r}, expected a token id or a list of them")
    return frozenset(ids)
