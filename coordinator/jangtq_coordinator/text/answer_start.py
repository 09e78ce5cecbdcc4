"""How the answer to a prompt begins: by reasoning or not, or in the middle of a message that is continued.

Works on the rendered text, so that it holds for templates that know nothing of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jangtq_coordinator.text.reasoning import Channel, Opening, ReasoningMarkers


@dataclass(frozen=True)
class Prefill:
    """The beginning of the answer; the model goes on where it ends."""

    reasoning: str = ""
    content: str = ""


@dataclass(frozen=True)
class AnswerStart:
    """`reasons` False keeps a prompt from opening reasoning, as MiniMax-M2's own template always does."""

    reasons: bool = True
    prefill: Prefill | None = None

    def hide(self, hide: Callable[[str], str]) -> "AnswerStart":
        """The same with `hide` applied to what a client wrote."""
        if self.prefill is None:
            return self
        prefill = Prefill(hide(self.prefill.reasoning), hide(self.prefill.content))
        return AnswerStart(self.reasons, prefill)

    def apply(self, prompt: str, markers: ReasoningMarkers | None) -> tuple[str, Opening]:
        """The prompt's end as the answer needs it, and how the answer begins."""
        if markers is None:
            return prompt + (self.prefill.content if self.prefill else ""), Opening(Channel.CONTENT)
        if self.prefill is not None:
            return _continued(_closed(prompt, markers), self.prefill, markers)
        if not self.reasons:
            return _closed(prompt, markers), Opening(Channel.CONTENT)
        return prompt, markers.opening(prompt)


def _closed(prompt: str, markers: ReasoningMarkers) -> str:
    """Without the marker at its end that opens reasoning."""
    stripped = prompt.rstrip()
    return stripped.removesuffix(markers.start) if stripped.endswith(markers.start) else prompt


def _continued(prompt: str, prefill: Prefill, markers: ReasoningMarkers) -> tuple[str, Opening]:
    end = markers.closes
    if not prefill.reasoning:
        return prompt + prefill.content, Opening(Channel.CONTENT)
    begun = f"{prompt}{markers.start}\n{prefill.reasoning}"
    if not prefill.content:
        return begun, Opening(Channel.REASONING)
    closed = "\n" * end.newlines_before + end.text + "\n" * end.newlines_after
    return begun + closed + prefill.content, Opening(Channel.CONTENT)
