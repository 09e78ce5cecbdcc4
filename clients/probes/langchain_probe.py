"""LangChain: chat, responses and Anthropic, each with a tool loop, streamed calls and a full context."""

import warnings

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from steps import BASE, MODEL, V1, expect, step

warnings.simplefilter("ignore")


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


MODELS = {
    "chat": ChatOpenAI(model=MODEL, base_url=V1, api_key="none", max_retries=0),
    "responses": ChatOpenAI(model=MODEL, base_url=V1, api_key="none", max_retries=0, use_responses_api=True),
    "anthropic": ChatAnthropic(model=MODEL, base_url=BASE, api_key="none", max_retries=0, max_tokens=500),
}


def loop(model):
    tools = model.bind_tools([get_weather])
    history = [SystemMessage("A"), HumanMessage("Hi")]
    whole = None
    for chunk in tools.stream(history):
        whole = chunk if whole is None else whole + chunk
    (call,) = whole.tool_calls
    expect(call["args"] == {"city": "Paris"}, call)
    answer = tools.invoke([*history, whole, ToolMessage("sunny", tool_call_id=call["id"])])
    expect("The tool says sunny." in answer.text, answer)


def two_systems(model):
    model.invoke([SystemMessage("A"), SystemMessage("B"), HumanMessage("Hi")])


def overflow(model):
    try:
        model.invoke("x" * 500_000)
    except Exception as error:
        expect("ContextOverflow" in str(type(error).__mro__), error)
        return
    raise AssertionError("no error")


for name, model in MODELS.items():
    step(f"{name}: loop", lambda model=model: loop(model))
    if name != "anthropic":
        step(f"{name}: two system messages", lambda model=model: two_systems(model))
    step(f"{name}: overflow", lambda model=model: overflow(model))
