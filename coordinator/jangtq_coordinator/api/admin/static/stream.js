// One streamed request: pieces of the API's chunks become a message, with the facts that the page shows of it.

import { events, post, Refused } from "./api.js";

// Chunks that this page took in all at once say nothing about the server's speed.
const LEAST_SECONDS = 0.05;

export class Stream {
  constructor(view, message) {
    this.view = view;
    this.message = message;
    this.began = performance.now();
    this.first = this.thought = 0;
    this.usage = null;
    this.end = "";
  }

  async run(body, signal) {
    try {
      const reply = await post("/v1/chat/completions", body, signal);
      for await (const event of events(reply)) this.take(event);
      if (!this.end) throw new TypeError("cut");
    } catch (error) {
      if (error.name === "AbortError") this.end = "stopped";
      throw error;
    } finally {
      cancelAnimationFrame(this.frame);
      this.close();
    }
  }

  take(event) {
    const progress = /^: prefill (\d+)\/(\d+)/.exec(event);
    if (progress && progress[1] !== progress[2]) this.view.waitFor(`Reading, ${Math.round((100 * progress[1]) / progress[2])}%`);
    if (!event.startsWith("data: ") || event === "data: [DONE]") return;
    const chunk = JSON.parse(event.slice(6));
    if (chunk.error) throw new Refused(chunk.error.message);
    this.usage = chunk.usage ?? this.usage;
    for (const choice of chunk.choices) this.add(choice);
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  add({ delta, finish_reason: reason }) {
    const { message } = this;
    if (delta.reasoning_content) message.reasoning_content = (message.reasoning_content ?? "") + delta.reasoning_content;
    message.content += delta.content ?? "";
    for (const part of delta.tool_calls ?? []) addCall(message, part);
    const answers = message.content.trim() || message.tool_calls;
    if (!this.first && (message.reasoning_content || answers)) this.first = performance.now();
    if (!this.thought && message.reasoning_content && answers) this.thought = performance.now();
    this.end ||= reason ?? "";
  }

  draw() {
    this.frame = null;
    if (this.first) this.view.waitFor("");
    this.view.draw();
    if (this.thought) this.view.thinking?.end((this.thought - this.first) / 1000);
    this.view.drawn?.();
  }

  close() {
    const { message, usage } = this;
    const now = performance.now();
    const spent = (now - this.first) / 1000;
    const empty = this.end === "stop" && !message.content.trim() && !message.tool_calls;
    message.facts = {
      end: empty ? "empty" : this.end,
      ...(message.reasoning_content ? { thought: ((this.thought || now) - this.first) / 1000 } : {}),
      ...(usage ? { tokens: usage.completion_tokens, context: usage.total_tokens, first: (this.first - this.began) / 1000 } : {}),
      ...(usage?.completion_tokens > 1 && spent > LEAST_SECONDS ? { rate: (usage.completion_tokens - 1) / spent } : {}),
    };
    this.view.finish();
  }

  // Whether a later request may tell of it: calls only where all of them came.
  get said() {
    if (!["stop", "tool_calls", "length"].includes(this.end)) delete this.message.tool_calls;
    return Boolean(this.message.content.trim() || this.message.tool_calls || this.message.reasoning_content);
  }
}

function addCall(message, part) {
  message.tool_calls ??= [];
  const made = (message.tool_calls[part.index] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
  made.id ||= part.id ?? "";
  made.function.name += part.function?.name ?? "";
  made.function.arguments += part.function?.arguments ?? "";
}
