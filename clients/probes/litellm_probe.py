"""LiteLLM: OpenAI's and Anthropic's routes, and what it makes of a full context."""

import litellm
from steps import BASE, MODEL, V1, expect, step

ASK = [{"role": "user", "content": "Hi"}]
OPENAI = {"model": f"openai/{MODEL}", "api_base": V1, "api_key": "none"}
ANTHROPIC = {"model": f"anthropic/{MODEL}", "api_base": BASE, "api_key": "none"}


def ask(options):
    text = litellm.completion(messages=ASK, **options).choices[0].message.content
    expect(text == "Hello from the stand-in.", text)


def overflow(options):
    try:
        litellm.completion(messages=[{"role": "user", "content": "x" * 500_000}], **options)
    except litellm.ContextWindowExceededError:
        return
    raise AssertionError("no ContextWindowExceededError")


step("openai", lambda: ask(OPENAI))
step("anthropic", lambda: ask(ANTHROPIC))
step("hosted_vllm", lambda: ask(OPENAI | {"model": f"hosted_vllm/{MODEL}"}))
step("stream", lambda: list(litellm.completion(messages=ASK, stream=True, **OPENAI)))
step("responses", lambda: litellm.responses(input="Hi", **OPENAI))
step("overflow openai", lambda: overflow(OPENAI))
step("overflow anthropic", lambda: overflow(ANTHROPIC))
