// One conversation as data: what was said, what failed, and what the next request tells of it.

const TITLE_LENGTH = 48;

export const DEFAULTS = Object.freeze({ system: "", temperature: null, length: null, thinking: true, tools: false });

export const makeTalk = (settings = DEFAULTS) => ({
  id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`,
  title: "New chat",
  changed: Date.now(),
  settings: { ...settings },
  messages: [],
});

export function titleOf(text) {
  const line = text.trim().split("\n", 1)[0];
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
}

// A question and all that answered it: indices from `start` up to `end`.
export function turnsOf(messages) {
  const starts = messages.flatMap(({ role }, index) => (role === "user" ? [index] : []));
  return starts.map((start, n) => ({ start, end: starts[n + 1] ?? messages.length }));
}

// The turns that were answered, and the newest; one that failed is not told, so that it spoils no later one.
export function requestMessages({ messages, settings }) {
  const turns = turnsOf(messages);
  const answered = ({ start, end }) => !messages[start].failed && messages.slice(start + 1, end).some(({ content, tool_calls: calls }) => content.trim() || calls);
  const told = turns.filter((turn, n) => n === turns.length - 1 || answered(turn));
  const said = told.flatMap(({ start, end }) => messages.slice(start, end)).map(bare);
  return settings.system.trim() ? [{ role: "system", content: settings.system }, ...said] : said;
}

// Without what only this page knows.
function bare({ facts, failed, ...message }) {
  return message;
}

export function requestBody(talk, tools) {
  const { temperature, length, thinking } = talk.settings;
  return {
    messages: requestMessages(talk),
    stream: true,
    stream_options: { include_usage: true },
    ...(temperature === null ? {} : { temperature }),
    ...(length === null ? {} : { max_tokens: length }),
    ...(thinking ? {} : { chat_template_kwargs: { enable_thinking: false } }),
    ...(talk.settings.tools ? { tools } : {}),
  };
}

export function asMarkdown({ title, messages }) {
  const parts = messages.flatMap(({ role, content }) => (content && role !== "tool" ? [`## ${role === "user" ? "You" : "Model"}\n\n${content}`] : []));
  return `# ${title}\n\n${parts.join("\n\n")}\n`;
}
