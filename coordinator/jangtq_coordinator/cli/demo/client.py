"""A chat with the demo's coordinator over HTTP, and its status."""

from collections.abc import Iterator, Mapping, Sequence

import httpx

from jangtq_coordinator.api.admin.cluster_status import ClusterStatus
from jangtq_coordinator.cli.chat_stream import ChatChunk, chat_chunks


def turn_chunks(
    base_url: str,
    messages: Sequence[Mapping[str, object]],
    *,
    max_tokens: int,
    tools: Sequence[Mapping[str, object]] = (),
) -> Iterator[ChatChunk]:
    """Send messages, with tools that may be called, and give the chunks as they come.

    Raises CoordinatorAnswerError for an error answer.
    """
    options: dict[str, object] = {"max_tokens": max_tokens}
    if tools:
        options["tools"] = [{"type": "function", "function": tool} for tool in tools]
    return chat_chunks(base_url, messages, options)


def cluster_status(base_url: str) -> ClusterStatus:
    """Which worker holds what, and where each layer's time goes."""
    response = httpx.get(f"{base_url}/cluster", timeout=10, trust_env=False).raise_for_status()
    return ClusterStatus.model_validate_json(response.content)
