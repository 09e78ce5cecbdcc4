// The openai package of npm: chat, runTools, responses and their input items.
import OpenAI from "openai";
import { BASE, MODEL, expect, step } from "./steps.mjs";

const client = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Hi" }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

await step("chat", async () => {
  const told = await client.chat.completions.create({ model: MODEL, messages });
  expect(told.choices[0].message.content === "Hello from the stand-in.", told);
});
await step("stream", async () => {
  const stream = client.chat.completions.stream({ model: MODEL, messages });
  expect((await stream.finalContent()) === "Hello from the stand-in.", "other text");
});
await step("runTools", async () => {
  const weather = async () => "sunny";
  const tools = [{ type: "function", function: { name: "get_weather", parameters, parse: JSON.parse, function: weather } }];
  const runner = client.chat.completions.runTools({ model: MODEL, messages, tools });
  expect((await runner.finalContent()) === "The tool says sunny.", "other text");
});
await step("responses", async () => {
  const told = await client.responses.create({ model: MODEL, input: "Hi" });
  expect(told.output_text === "Hello from the stand-in.", told);
  const items = await client.responses.inputItems.list(told.id);
  expect(items.data.length === 1, items);
});
await step("responses stream", async () => {
  const tools = [{ type: "function", name: "get_weather", parameters, strict: false }];
  const stream = client.responses.stream({ model: MODEL, input: "Hi", tools });
  const call = (await stream.finalResponse()).output.find((item) => item.type === "function_call");
  expect(call.arguments === '{"city": "Paris"}', call);
});
