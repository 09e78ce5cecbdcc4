// Vercel's ai with its OpenAI (chat and responses), compatible and Anthropic providers: text, streams, tool loops.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { BASE, MODEL, expect, step } from "./steps.mjs";

const openai = createOpenAI({ baseURL: `${BASE}/v1`, apiKey: "none" });
const models = {
  compatible: createOpenAICompatible({ name: "here", baseURL: `${BASE}/v1` })(MODEL),
  "openai chat": openai.chat(MODEL),
  "openai responses": openai.responses(MODEL),
  anthropic: createAnthropic({ baseURL: `${BASE}/v1`, apiKey: "none" })(MODEL),
};
const tools = {
  get_weather: tool({
    description: "The weather of a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `sunny in ${city}`,
  }),
};

for (const [name, model] of Object.entries(models)) {
  await step(`${name}: text`, async () => {
    const { text } = await generateText({ model, prompt: "Hi", maxRetries: 0 });
    expect(text === "Hello from the stand-in.", text);
  });
  await step(`${name}: tool loop`, async () => {
    const { text } = await generateText({ model, prompt: "Hi", tools, stopWhen: stepCountIs(3), maxRetries: 0 });
    expect(text === "The tool says sunny in Paris.", text);
  });
  await step(`${name}: streamed tool loop`, async () => {
    const told = streamText({ model, prompt: "Hi", tools, stopWhen: stepCountIs(3), maxRetries: 0 });
    const text = await told.text;
    expect(text === "The tool says sunny in Paris.", text);
  });
}
