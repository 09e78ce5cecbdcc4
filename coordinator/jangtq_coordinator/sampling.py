"""How one answer's tokens are picked: parameters, and samplers with their own random key. Knows no batch."""

import os
from collections import OrderedDict
from dataclasses import dataclass, replace

import mlx.core as mx

from jangtq_proto.errors import RequestError

_SHARED_SAMPLERS = 64


@dataclass(frozen=True)
class SamplingParameters:
    """The defaults are those of the MiniMax-M2 model card. Temperature 0 takes the likeliest token.

    top_k 0 and top_p 1 switch that cut off. Equal seeds give equal answers to equal prompts.
    """

    temperature: float = 1.0
    top_p: float = 0.95
    top_k: int = 40
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 2:
            raise RequestError(f"temperature {self.temperature}: allowed are 0 to 2")
        if not 0 <= self.top_p <= 1:
            raise RequestError(f"top_p {self.top_p}: allowed are 0 to 1")
        if self.top_k < 0:
            raise RequestError(f"top_k {self.top_k}: allowed are 0 (off) and above")

    def override(
        self,
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
    ) -> "SamplingParameters":
        """These parameters where nothing else is given. Raises RequestError."""
        return replace(
            self,
            temperature=self.temperature if temperature is None else temperature,
            top_p=self.top_p if top_p is None else top_p,
            top_k=self.top_k if top_k is None else top_k,
            seed=self.seed if seed is None else seed,
        )


class Sampler:
    """Draws tokens with its own key, so that neighbours in a batch never change its draws."""

    def __init__(self, parameters: SamplingParameters, seed: int) -> None:
        self._parameters = parameters
        self._key = mx.random.key(seed % 2**64)

    def __call__(self, logits: mx.array) -> mx.array:
        """logits: [rows, vocabulary] float32; returns token ids [rows]."""
        if self._parameters.temperature == 0:
            return mx.argmax(logits, axis=-1)
        self._key, key = mx.random.split(self._key)
        candidates, scores = cut_candidates(logits, self._parameters)
        picked = mx.random.categorical(scores, key=key)
        return mx.take_along_axis(candidates, picked[:, None], axis=-1)[:, 0]


class SamplerPool:
    """Requests without a seed share a sampler, so that their rows are drawn in one operation."""

    def __init__(self) -> None:
        self._shared: OrderedDict[SamplingParameters, Sampler] = OrderedDict()

    def sampler(self, parameters: SamplingParameters) -> Sampler:
        """A sampler for one request."""
        if parameters.seed is not None:
            return Sampler(parameters, parameters.seed)
        if parameters not in self._shared:
            self._shared[parameters] = Sampler(parameters, int.from_bytes(os.urandom(8)))
        self._shared.move_to_end(parameters)
        if len(self._shared) > _SHARED_SAMPLERS:
            self._shared.popitem(last=False)
        return self._shared[parameters]


def cut_candidates(logits: mx.array, parameters: SamplingParameters) -> tuple[mx.array, mx.array]:
    """Token ids and scores [rows, candidates], likeliest first; a score of -inf is cut off.

    The order of transformers and vLLM, for which the card's numbers are meant: temperature, top-k, top-p.
    """
    scaled = logits / parameters.temperature
    vocabulary = logits.shape[-1]
    count = min(parameters.top_k, vocabulary) or vocabulary
    ids = _likeliest(scaled, count)
    scores = mx.take_along_axis(scaled, ids, axis=-1)
    if parameters.top_p < 1:
        probabilities = mx.softmax(scores, axis=-1)
        mass_before = mx.cumsum(probabilities, axis=-1) - probabilities
        # The likeliest token stays whatever top_p is.
        cut = (mass_before >= parameters.top_p) & (mx.arange(count) > 0)
        scores = mx.where(cut, -mx.inf, scores)
    return ids, scores


def _likeliest(scores: mx.array, count: int) -> mx.array:
    """Ids of the `count` highest scores, highest first; sorts only those."""
    if count == scores.shape[-1]:
        return mx.argsort(-scores, axis=-1)
    ids = mx.argpartition(-scores, kth=count - 1, axis=-1)[..., :count]
    order = mx.argsort(-mx.take_along_axis(scores, ids, axis=-1), axis=-1)
    return mx.take_along_axis(ids, order, axis=-1)
