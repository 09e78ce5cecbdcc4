"""OpenAI's agents SDK: chat and responses, with tools and truncation."""

import asyncio

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from steps import MODEL, V1, expect

set_tracing_disabled(True)
client = AsyncOpenAI(base_url=V1, api_key="none", max_retries=0)


@function_tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


async def main():
    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        truncation = "auto" if kind is OpenAIResponsesModel else None
        print(f"step {kind.__name__}", flush=True)
        agent = Agent(
            name="a",
            instructions="Be brief.",
            tools=[get_weather],
            model=kind(model=MODEL, openai_client=client),
            model_settings=ModelSettings(truncation=truncation),
        )
        told = await Runner.run(agent, "Hi")
        expect(told.final_output == "The tool says sunny in Paris.", told.final_output)
        streamed = Runner.run_streamed(agent, "Hi")
        async for _ in streamed.stream_events():
            pass
        expect(streamed.final_output == "The tool says sunny in Paris.", streamed.final_output)
        print(f"ok {kind.__name__}", flush=True)


asyncio.run(main())
