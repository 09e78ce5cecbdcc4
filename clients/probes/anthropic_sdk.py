"""The anthropic package: messages, streams, tools, system messages, prefill, counting."""

import anthropic
from steps import BASE, MODEL, expect, step

client = anthropic.Anthropic(base_url=BASE, api_key="none", max_retries=0)
ASK = [{"role": "user", "content": "Hi"}]
TOOL = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def send(**more):
    return client.messages.create(**{"model": MODEL, "max_tokens": 500, "messages": ASK} | more)


def message():
    text = send().content[0].text
    expect(text == "Hello from the stand-in.", text)


def stream():
    with client.messages.stream(model=MODEL, max_tokens=500, messages=ASK) as events:
        expect(events.get_final_text() == "Hello from the stand-in.", "other text")


def tools():
    first = send(tools=[TOOL])
    call = next(block for block in first.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    history = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    text = send(messages=history, tools=[TOOL]).content[-1].text
    expect(text == "The tool says sunny.", text)


def system_in_messages():
    late = [*ASK, {"role": "system", "content": "Be brief."}]
    plain, more = [client.messages.count_tokens(model=MODEL, messages=m).input_tokens for m in (ASK, late)]
    expect(more > plain, (plain, more))
    send(messages=late)


def thinking():
    told = send(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024})
    expect([block.type for block in told.content] == ["thinking", "text"], told)


for name, run in list(globals().items()):
    if name in ("message", "stream", "tools", "system_in_messages", "thinking"):
        step(name, run)
step("models", lambda: expect(MODEL in [one.id for one in client.models.list()], "no model"))
