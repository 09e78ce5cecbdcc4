"""How one answer's tokens are picked: parameters, and the candidates they leave. Knows no sequence."""

import math
from dataclasses import dataclass, replace
from typing import Final, TypedDict, Unpack

import mlx.core as mx

from jangtq_proto.errors import RequestError

MAX_LOGPROBS: Final = 20

_RANGES: Final = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "top_logprobs": (0, MAX_LOGPROBS),
}


@dataclass(frozen=True)
class SamplingParameters:
    """The defaults are those of the MiniMax-M2 model card. Temperature 0 takes the likeliest token.

    top_k 0, top_p 1 and min_p 0 switch that cut off. Presence and frequency penalties count the answer's
    tokens, the repetition penalty (1: off) also the prompt's. `logit_bias` pairs token ids with what is
    added. top_logprobs None asks for no log-probabilities, 0 for the picked token's alone. Equal seeds give
    equal answers to equal prompts. The tokens in `withheld` may not come among the first `min_tokens`.
    """

    temperature: float = 1.0
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int | None = None
    min_tokens: int = 0
    withheld: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise RequestError(f"{name} {value}: allowed are {low} to {high}")
        if self.top_k < 0:
            raise RequestError(f"top_k {self.top_k}: allowed are 0 (off) and above")
        if not 0 < self.repetition_penalty <= 10:
            raise RequestError(f"repetition_penalty {self.repetition_penalty}: allowed are above 0 to 10")

    @property
    def cut(self) -> "SamplingParameters":
        """The part that rows must share to be drawn in one operation."""
        return SamplingParameters(self.temperature, self.top_p, self.top_k, self.min_p)

    @property
    def adjusts(self) -> bool:
        """Whether single logits change before the draw."""
        penalties = self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1
        return bool(penalties or self.logit_bias or self.min_tokens)

    def override(self, **given: Unpack["SamplingChanges"]) -> "SamplingParameters":
        """These parameters where nothing else, or None, is given. Raises RequestError."""
        changes = {name: value for name, value in given.items() if value is not None}
        return replace(self, **changes)  # type: ignore[arg-type]


class SamplingChanges(TypedDict, total=False):
    """What may be given instead of a default."""

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    seed: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repetition_penalty: float | None
    logit_bias: tuple[tuple[int, float], ...] | None
    top_logprobs: int | None
    min_tokens: int | None
    withheld: tuple[int, ...] | None


def cut_candidates(logits: mx.array, parameters: SamplingParameters) -> tuple[mx.array, mx.array]:
    """Token ids and scores [rows, candidates], likeliest first; a score of -inf is cut off.

    The order of transformers and vLLM, for which the card's numbers are meant: temperature, min-p, top-k,
    top-p.
    """
    scaled = logits / parameters.temperature
    vocabulary = logits.shape[-1]
    count = min(parameters.top_k, vocabulary) or vocabulary
    ids = likeliest(scaled, count)
    scores = mx.take_along_axis(scaled, ids, axis=-1)
    if parameters.min_p > 0:
        scores = mx.where(scores < scores[:, :1] + math.log(parameters.min_p), -mx.inf, scores)
    if parameters.top_p < 1:
        probabilities = mx.softmax(scores, axis=-1)
        mass_before = mx.cumsum(probabilities, axis=-1) - probabilities
        # The likeliest token stays whatever top_p is.
        cut = (mass_before >= parameters.top_p) & (mx.arange(count) > 0)
        scores = mx.where(cut, -mx.inf, scores)
    return ids, scores


def draw(logits: mx.array, keys: mx.array, parameters: SamplingParameters) -> mx.array:
    """Token ids [rows] from logits [rows, vocabulary]; the random keys [rows, 2] are the rows' own.

    No row's draw depends on how many others there are. At temperature 0 the keys are not used.
    """
    if parameters.temperature == 0:
        return mx.argmax(logits, axis=-1)
    candidates, scores = cut_candidates(logits, parameters)
    picked: mx.array = mx.vmap(_categorical)(scores, keys)
    return mx.take_along_axis(candidates, picked[:, None], axis=-1)[:, 0]


def likeliest(scores: mx.array, count: int) -> mx.array:
    """Ids [rows, count] of the `count` highest scores [rows, vocabulary], highest first; sorts only those."""
    if count == scores.shape[-1]:
        return mx.argsort(-scores, axis=-1)
    ids = mx.argpartition(-scores, kth=count - 1, axis=-1)[..., :count]
    order = mx.argsort(-mx.take_along_axis(scores, ids, axis=-1), axis=-1)
    return mx.take_along_axis(ids, order, axis=-1)


def _categorical(scores: mx.array, key: mx.array) -> mx.array:
    return mx.random.categorical(scores, key=key)
