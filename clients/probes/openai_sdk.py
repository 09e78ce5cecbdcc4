"""The openai package: chat, tools, parse, completions, responses and their side routes."""

import openai
import pydantic
from steps import MODEL, SAY_JSON, V1, expect, step

client = openai.OpenAI(base_url=V1, api_key="none", max_retries=0)
ASK = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Weather(pydantic.BaseModel):
    city: str
    warm: bool


def chat():
    text = client.chat.completions.create(model=MODEL, messages=ASK).choices[0].message.content
    expect(text == "Hello from the stand-in.", text)


def stream():
    chunks = client.chat.completions.create(
        model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    told = list(chunks)
    text = "".join(c.choices[0].delta.content or "" for c in told if c.choices)
    expect(text == "Hello from the stand-in." and told[-1].usage.total_tokens, text)


def tools():
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
    first = client.chat.completions.create(model=MODEL, messages=ASK, tools=[tool]).choices[0].message
    call = first.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [*ASK, first.model_dump(exclude_none=True), result]
    text = client.chat.completions.create(model=MODEL, messages=messages, tools=[tool]).choices[0]
    expect(text.message.content == "The tool says sunny.", text)


def parse():
    asked = [{"role": "user", "content": SAY_JSON}]
    answer = client.chat.completions.parse(model=MODEL, messages=asked, response_format=Weather)
    expect(answer.choices[0].message.parsed == Weather(city="Paris", warm=True), answer)


def overflow():
    try:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x" * 500_000}])
    except openai.BadRequestError as error:
        expect(error.code == "context_length_exceeded", error)
        return
    raise AssertionError("a prompt beyond the context was taken")


def responses():
    first = client.responses.create(model=MODEL, input="Hi")
    expect(first.output_text == "Hello from the stand-in.", first)
    again = client.responses.create(model=MODEL, input="Hi", previous_response_id=first.id)
    items = client.responses.input_items.list(again.id).data
    expect(len(items) >= 3, items)
    count = client.responses.input_tokens.count(model=MODEL, input="Hi")
    expect(count.input_tokens > 0, count)


def responses_stream():
    tool = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
    with client.responses.stream(model=MODEL, input="Hi", tools=[tool]) as events:
        call = [item for item in events.get_final_response().output if item.type == "function_call"][0]
    expect(call.arguments == '{"city": "Paris"}', call)


for name, run in list(globals().items()):
    if name in ("chat", "stream", "tools", "parse", "overflow", "responses", "responses_stream"):
        step(name, run)
step("models", lambda: expect(MODEL in [one.id for one in client.models.list()], "no model"))
step("completions", lambda: client.completions.create(model=MODEL, prompt="Hi", max_tokens=3))
