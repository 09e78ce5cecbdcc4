"""Anthropic's `system` as the model reads it."""

from typing import Final

from jangtq_coordinator.api.chat.content_parts import join_text

_BILLING: Final = "x-anthropic-billing-header:"


def join_system(system: object) -> object:
    """The texts of all blocks, without those that are no instructions.

    Claude Code's first block, or its first line, is for Anthropic's billing. A part of it is different in
    every request: as the beginning of a prompt it would keep any kept prompt from fitting.
    """
    blocks = system if isinstance(system, list) else [system]
    texts = [join_text([one]) if isinstance(one, dict) else one for one in blocks]
    if not all(isinstance(text, str) for text in texts):
        return system
    kept = [_without_billing(str(text)) for text in texts]
    return "\n\n".join(text for text in kept if text)


def _without_billing(text: str) -> str:
    return text.partition("\n")[2].lstrip("\n") if text.startswith(_BILLING) else text
