// The @anthropic-ai/sdk package: messages, streams, counting, models.
import Anthropic from "@anthropic-ai/sdk";
import { BASE, MODEL, expect, step } from "./steps.mjs";

const client = new Anthropic({ baseURL: BASE, apiKey: "none", maxRetries: 0 });
const asked = { model: MODEL, max_tokens: 500, messages: [{ role: "user", content: "Hi" }] };
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

await step("message", async () => {
  const told = await client.messages.create(asked);
  expect(told.content[0].text === "Hello from the stand-in.", told);
});
await step("stream", async () => {
  const told = await client.messages.stream({ ...asked, tools: [{ name: "get_weather", input_schema: schema }] }).finalMessage();
  expect(told.content.at(-1).input.city === "Paris", told);
});
await step("countTokens", async () => {
  const told = await client.messages.countTokens({ model: MODEL, messages: asked.messages });
  expect(told.input_tokens > 0, told);
});
await step("models", async () => {
  const told = await client.models.list();
  expect(told.data.some((model) => model.id === MODEL), told);
});
