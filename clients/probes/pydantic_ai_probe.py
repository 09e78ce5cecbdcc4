"""Pydantic AI: chat, responses and Anthropic, with tools, instructions and streams."""

import asyncio

from anthropic import AsyncAnthropic
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from steps import BASE, MODEL, V1, expect, step

openai = OpenAIProvider(base_url=V1, api_key="none")
anthropic = AnthropicProvider(anthropic_client=AsyncAnthropic(base_url=BASE, api_key="none", max_retries=0))
MODELS = {
    "chat": OpenAIChatModel(MODEL, provider=openai),
    "responses": OpenAIResponsesModel(MODEL, provider=openai),
    "anthropic": AnthropicModel(MODEL, provider=anthropic),
}


async def run(model):
    agent = Agent(model, system_prompt="A", instructions="B")

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"sunny in {city}"

    told = await agent.run("Hi")
    expect(told.output == "The tool says sunny in Paris.", told.output)
    async with Agent(model).run_stream("Hi") as stream:
        expect(await stream.get_output() == "Hello from the stand-in.", "other text")


async def main():
    for name, model in MODELS.items():
        print(f"step {name}", flush=True)
        await run(model)
        print(f"ok {name}", flush=True)


asyncio.run(main())
step("end", lambda: None)
