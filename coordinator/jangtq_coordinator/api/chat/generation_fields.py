"""What OpenAI's chat completions and completions ask alike of an answer, checked."""

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from jangtq_coordinator.api.chat.chat_messages import Strict
from jangtq_coordinator.engine.engine_config import Speculation
from jangtq_coordinator.sampling.parameters import SamplingParameters

_MAX_STOPS: Final = 16
_MAX_CHOICES: Final = 16
_MAX_BIASES: Final = 1024


def only(*neutral: JsonValue) -> AfterValidator:
    """For a parameter that this server does not support: takes the values that ask for nothing."""

    def refuse_others(value: JsonValue) -> JsonValue:
        if value is not None and value not in neutral:
            names = " or ".join(repr(one) for one in neutral)
            raise ValueError(f"{value!r} is not supported by this server{f', only {names}' * bool(names)}")
        return value

    return AfterValidator(refuse_others)


def check_stop(stop: str | list[str] | None) -> str | list[str] | None:
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > _MAX_STOPS:
        raise ValueError(f"{len(stops)} stop strings given: allowed are at most {_MAX_STOPS}")
    if not all(stops):
        raise ValueError("an empty stop string would end every answer at once")
    return stop


Stop = Annotated[str | list[str], AfterValidator(check_stop)]


def parse_biases(biases: object) -> object:
    """JSON names token ids by text."""
    if not isinstance(biases, dict):
        return biases
    if wrong := [token for token in biases if not str(token).isdecimal() or len(str(token)) > 9]:
        raise ValueError(f"{wrong[0]!r} is not a token id")
    return {int(token): bias for token, bias in biases.items()}


Biases = Annotated[
    dict[int, Annotated[float, Field(ge=-100, le=100)]],
    BeforeValidator(parse_biases, json_schema_input_type=dict[str, float]),
    Field(max_length=_MAX_BIASES),
]


SpeculationWish = Annotated[Speculation, Field(strict=False)]
"""Guess ahead otherwise than `--speculation` says; where that is off, it stays off."""


class StreamOptions(Strict):
    """What a stream brings beside the answer."""

    include_usage: bool = False


class GenerationFields(Strict):
    """top_k, min_p and repetition_penalty are as vLLM has them."""

    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    logit_bias: Biases | None = None
    n: int | None = Field(default=None, ge=1, le=_MAX_CHOICES)
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    speculation: SpeculationWish | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def choices(self) -> int:
        """How many answers to each prompt."""
        return self.n or 1

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def wanted_logprobs(self) -> int | None:
        """How many of the likeliest tokens to tell for each token; None tells nothing."""
        return None

    def sampling(self, defaults: SamplingParameters) -> SamplingParameters:
        """The model's sampling where the request says nothing. A top_k of -1 means off, as with vLLM."""
        return defaults.override(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            seed=self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=tuple((self.logit_bias or {}).items()),
            top_logprobs=self.wanted_logprobs,
        )
