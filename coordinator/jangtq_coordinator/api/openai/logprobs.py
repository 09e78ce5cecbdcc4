"""Log-probabilities of tokens in OpenAI's forms: that of chat and responses, and the older of completions."""

import itertools
from collections.abc import Iterable, Sequence

from jangtq_coordinator.api.chat.content_logprobs import Logged, TokenBytes


def token_logprobs(logged: Iterable[Logged], token_bytes: TokenBytes) -> list[dict[str, object]]:
    """Of each token its own, and those of the likeliest in its place."""
    return [
        _entry(token_bytes(token), found.logprob)
        | {"top_logprobs": [_entry(token_bytes(other), value) for other, value in found.top]}
        for token, found in logged
    ]


def completion_logprobs(
    logged: Sequence[Logged], token_bytes: TokenBytes, *, offset: int
) -> dict[str, object]:
    """The same as parallel lists; `offset` is where the first token's text begins."""
    texts = [_text(token_bytes(token)) for token, _ in logged]
    lengths = [len(token_bytes(token).decode(errors="ignore")) for token, _ in logged]
    starts = list(itertools.accumulate(lengths[:-1], initial=offset))
    tops = [{_text(token_bytes(other)): value for other, value in found.top} for _, found in logged]
    return {
        "tokens": texts,
        "token_logprobs": [found.logprob for _, found in logged],
        "top_logprobs": tops,
        "text_offset": starts,
    }


def _entry(token: bytes, logprob: float) -> dict[str, object]:
    return {"token": _text(token), "logprob": logprob, "bytes": list(token)}


def _text(token: bytes) -> str:
    """A part of a character is written byte by byte, as OpenAI does."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
