"""What OpenAI's chat completions and completions ask alike of an answer, checked."""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from jangtq_coordinator.api.chat.answer_form import AnswerForm, forms_of
from jangtq_coordinator.api.chat.chat_messages import Strict
from jangtq_coordinator.engine.engine_config import Speculation
from jangtq_coordinator.sampling.parameters import SamplingParameters

_MAX_STOPS: Final = 16
_MAX_CHOICES: Final = 16
_MAX_BIASES: Final = 1024
_NEVER: Final = 2**31


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
    continuous_usage_stats: bool = False


class GenerationFields(Strict):
    """OpenAI's fields, and those of vLLM, SGLang and llama-server that change an answer."""

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
    repeat_penalty: float | None = Field(default=None, gt=0, le=10)
    logit_bias: Biases | None = None
    n: int | None = Field(default=None, ge=1, le=_MAX_CHOICES)
    stop: Stop | None = None
    stop_token_ids: list[Annotated[int, Field(ge=0)]] | None = None
    min_tokens: int | None = Field(default=None, ge=0)
    ignore_eos: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    speculation: SpeculationWish | None = None

    structured_outputs: dict[str, JsonValue] | None = None
    guided_json: JsonValue = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    json_schema: JsonValue = None
    regex: str | None = None
    grammar: str | None = None
    ebnf: str | None = None

    allowed_token_ids: Annotated[JsonValue, only()] = None
    bad_words: Annotated[JsonValue, only([])] = None
    dry_multiplier: Annotated[JsonValue, only(0)] = None
    dynatemp_range: Annotated[JsonValue, only(0)] = None
    include_stop_str_in_output: Annotated[JsonValue, only(False)] = None
    length_penalty: Annotated[JsonValue, only(1)] = None
    mirostat: Annotated[JsonValue, only(0)] = None
    prompt_logprobs: Annotated[JsonValue, only(False)] = None
    return_token_ids: Annotated[JsonValue, only(False)] = None
    return_tokens_as_token_ids: Annotated[JsonValue, only(False)] = None
    skip_special_tokens: Annotated[JsonValue, only(True)] = None
    structural_tag: Annotated[JsonValue, only()] = None
    top_a: Annotated[JsonValue, only(0)] = None
    truncate_prompt_tokens: Annotated[JsonValue, only()] = None
    typical_p: Annotated[JsonValue, only(1)] = None
    use_beam_search: Annotated[JsonValue, only(False)] = None
    xtc_probability: Annotated[JsonValue, only(0)] = None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Raise ValueError for fields that make no sense together."""
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only allowed with stream: true")
        if len(forms := self.answer_forms) > 1:
            names = " and ".join(form.param for form in forms)
            raise ValueError(f"{names}: an answer can follow one of them only")
        return self

    @property
    def answer_forms(self) -> list[AnswerForm]:
        """All that the answer's text must follow; a checked request has one or none."""
        return forms_of(self)

    @property
    def answer_form(self) -> AnswerForm | None:
        """What the answer's text must follow."""
        return next(iter(self.answer_forms), None)

    @property
    def withholds_end(self) -> bool:
        """Whether the answer may not end as early as the model likes."""
        return bool(self.ignore_eos or self.min_tokens)

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
    def usage_in_every_chunk(self) -> bool:
        """As vLLM does where load generators ask for it."""
        return (
            self.include_usage
            and self.stream_options is not None
            and self.stream_options.continuous_usage_stats
        )

    @property
    def wanted_logprobs(self) -> int | None:
        """How many of the likeliest tokens to report for each token; None for no log-probabilities."""
        return None

    def sampling(self, defaults: SamplingParameters, ends: frozenset[int]) -> SamplingParameters:
        """The model's sampling where the request says nothing; `ends` are the tokens that end an answer.

        A top_k of -1 means off, as with vLLM.
        """
        penalty = self.repeat_penalty if self.repetition_penalty is None else self.repetition_penalty
        return defaults.override(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            seed=self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=penalty,
            logit_bias=tuple((self.logit_bias or {}).items()),
            top_logprobs=self.wanted_logprobs,
            min_tokens=_NEVER if self.ignore_eos else self.min_tokens,
            withheld=tuple(sorted({*ends, *(self.stop_token_ids or ())})) if self.withholds_end else None,
        )
