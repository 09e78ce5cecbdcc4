"""A request to the engine: one prompt as tokens, and how to continue it."""

from dataclasses import dataclass, field

from jangtq_coordinator.engine.engine_config import Speculation
from jangtq_coordinator.sampling.parameters import SamplingParameters
from jangtq_coordinator.sampling.sampler import Constraint, SequenceSampler
from jangtq_coordinator.text.reasoning import Channel, Opening
from jangtq_proto.errors import ContextOverflowError, RequestError


@dataclass(frozen=True)
class GenerationRequest:
    """A continuation of `prompt` by at most `max_tokens` tokens (None: as many as the context allows).

    Without an `opening` the answer is plain text, markers of reasoning included. `tool_calls` says whether to
    parse tool calls; otherwise they are text. `choice` distinguishes several answers to one prompt with
    one seed. A constraint has a state and serves one request only. `speculation` overrides the engine's own,
    unless that is off. `stop_tokens` end the answer beside those of the model.
    """

    prompt: tuple[int, ...]
    sampling: SamplingParameters = field(default_factory=SamplingParameters)
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    opening: Opening | None = Opening(Channel.CONTENT)
    tool_calls: bool = False
    choice: int = 0
    constraint: Constraint | None = None
    speculation: Speculation | None = None
    stop_tokens: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not self.prompt:
            raise RequestError("the prompt is empty: at least one token is needed")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise RequestError(f"max_tokens {self.max_tokens}: allowed are 1 and above")
        if not all(self.stops):
            raise RequestError("an empty stop string would end every answer at once")

    def new_sampler(self) -> SequenceSampler:
        """A sampler for this answer."""
        return SequenceSampler(self.sampling, self.prompt, choice=self.choice, constraint=self.constraint)

    def token_budget(self, context_length: int) -> int:
        """The most tokens of the answer. Raises ContextOverflowError where there is room for none."""
        room = room_after(len(self.prompt), context_length)
        return room if self.max_tokens is None else min(self.max_tokens, room)


def room_after(prompt_tokens: int, context_length: int) -> int:
    """Tokens that a prompt leaves for its answer. Raises ContextOverflowError where it leaves none."""
    room = context_length - prompt_tokens
    if room < 1:
        raise ContextOverflowError.of(prompt_tokens=prompt_tokens, context_length=context_length)
    return room
