// The conversation: one answer at a time, streamed, with its thinking and its tool calls folded away.

const MOST_ROUNDS = 8;
const SUGGESTIONS = [
  { text: "Explain photosynthesis in five sentences." },
  { text: "What is 23 * 17? Use the calculator.", tools: true },
  { text: "What time is it in Tokyo?", tools: true },
];

let messages = [];
let running = null;

async function ask(text) {
  messages.push({ role: "user", content: text });
  $("welcome").hidden = true;
  $("turns").append(el("div", "turn user", el("div", "body", text)));
  const turn = el("article", "turn writing");
  $("turns").append(turn);
  scrollDown(true);
  running = new AbortController();
  showRunning(true);
  try {
    await answer(turn, running.signal);
  } catch (error) {
    turn.append(el("p", error.name === "AbortError" ? "foot" : "failure", wordsOf(error)));
  } finally {
    turn.classList.remove("writing");
    running = null;
    showRunning(false);
    scrollDown();
  }
}

const wordsOf = (error) =>
  error.name === "AbortError" ? "Stopped." : error instanceof TypeError ? "The connection to the server was lost." : error.message;

// Rounds of the model and the tools it calls, until it answers without a call.
async function answer(turn, signal) {
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const view = new AnswerView(turn);
    try {
      await stream(view, signal);
    } finally {
      view.finish();
      const said = view.message();
      if (said) messages.push(said);
    }
    if (!view.calls.length) return;
    for (const made of view.calls) {
      const content = runTool(made.function);
      view.showResult(made, content);
      messages.push({ role: "tool", tool_call_id: made.id, content });
    }
  }
  throw new Error(`The model called tools ${MOST_ROUNDS} times without an answer.`);
}

async function stream(view, signal) {
  const body = { messages, stream: true, stream_options: { include_usage: true } };
  if ($("tools").checked) body.tools = offeredTools();
  const reply = await call("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  if (!reply.ok) throw new Error((await reply.json()).error.message);
  for await (const event of events(reply)) {
    const progress = /^: prefill (\d+)\/(\d+)/.exec(event);
    if (progress) view.prefilled(Number(progress[1]) / Number(progress[2]));
    if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
    const chunk = JSON.parse(event.slice(6));
    if (chunk.error) throw new Error(chunk.error.message);
    view.add(chunk);
  }
  if (!view.ended) throw new TypeError("cut");
}

class AnswerView {
  constructor(turn) {
    this.started = performance.now();
    Object.assign(this, { content: "", reasoning: "", calls: [], first: 0, thought: 0, usage: null, ended: false });
    this.wait = el("p", "waiting");
    this.body = el("div", "answer");
    this.node = el("div", "", this.wait, this.body);
    turn.append(this.node);
  }

  prefilled(share) {
    this.wait.textContent = share < 1 ? `Reading, ${Math.round(share * 100)}%` : "";
    scrollDown();
  }

  add({ choices, usage }) {
    this.usage = usage ?? this.usage;
    for (const { delta, finish_reason: reason } of choices) {
      this.reasoning += delta.reasoning_content ?? "";
      this.content += delta.content ?? "";
      for (const part of delta.tool_calls ?? []) this.addCall(part);
      if (!this.first && (this.reasoning || this.content || this.calls.length)) this.first = performance.now();
      if (!this.thought && this.reasoning && (this.content.trim() || this.calls.length)) this.thought = performance.now();
      this.ended ||= Boolean(reason);
    }
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  addCall(part) {
    const made = (this.calls[part.index] ??= { id: "", type: "function", function: { name: "", arguments: "" } });
    made.id ||= part.id ?? "";
    made.function.name += part.function?.name ?? "";
    made.function.arguments += part.function?.arguments ?? "";
  }

  draw() {
    this.frame = null;
    this.wait.hidden = Boolean(this.first);
    if (this.reasoning.trim()) this.drawThinking();
    this.body.replaceChildren(markdown(this.content));
    this.calls.forEach((made) => this.drawCall(made));
    scrollDown();
  }

  drawThinking() {
    if (!this.thinking) {
      this.thinking = folded("Thinking");
      this.node.insertBefore(this.thinking, this.body);
    }
    const seconds = ((this.thought - this.started) / 1000).toFixed(1);
    this.thinking.firstChild.textContent = this.thought ? `Thought for ${seconds} s` : "Thinking";
    this.thinking.lastChild.textContent = this.reasoning.trim();
  }

  // View and result are hidden from JSON: a call is sent back as it came.
  drawCall(made) {
    if (!made.view) Object.defineProperty(made, "view", { value: this.node.appendChild(folded("")) });
    const { name, arguments: text } = made.function;
    made.view.dataset.tool = name;
    made.view.firstChild.textContent = made.result ? `Used ${name}` : `Calling ${name}`;
    made.view.lastChild.replaceChildren(el("code", "", `${name}(${text})`), made.result ?? "");
  }

  showResult(made, result) {
    Object.defineProperty(made, "result", { value: result });
    this.draw();
  }

  finish() {
    cancelAnimationFrame(this.frame);
    if (this.reasoning) this.thought ||= performance.now();
    this.draw();
    this.wait.remove();
    const words = this.footWords();
    if (words) this.node.append(el("p", "foot", words));
  }

  footWords() {
    if (!this.usage || this.calls.length) return "";
    const tokens = this.usage.completion_tokens;
    const seconds = (performance.now() - this.first) / 1000;
    // Chunks that this page took in all at once say nothing about the server's speed.
    const rate = tokens > 1 && seconds > 0.05 ? ` · ${figure((tokens - 1) / seconds)} tokens/s` : "";
    return `${tokens} tokens${rate} · first after ${((this.first - this.started) / 1000).toFixed(2)} s`;
  }

  // What the next request tells of this answer; calls only where all of them came.
  message() {
    if (!this.ended) this.calls = [];
    if (!this.content && !this.calls.length) return null;
    const said = { role: "assistant", content: this.content };
    if (this.reasoning) said.reasoning_content = this.reasoning;
    if (this.calls.length) said.tool_calls = this.calls;
    return said;
  }
}

const folded = (label) => el("details", "aside", el("summary", "", label), el("div", "inner"));

function scrollDown(always = false) {
  const box = $("scroll");
  const near = box.scrollHeight - box.scrollTop - box.clientHeight < 120;
  if (always || near) box.scrollTop = box.scrollHeight;
}

function showRunning(on) {
  $("send").hidden = on;
  $("stop").hidden = !on;
  growText();
}

function growText() {
  $("text").style.height = "auto";
  $("text").style.height = `${$("text").scrollHeight}px`;
  $("send").disabled = !$("text").value.trim();
}

function submit() {
  const text = $("text").value.trim();
  if (!text || running) return;
  $("text").value = "";
  growText();
  ask(text);
}

function showView(name) {
  document.body.dataset.view = name;
  for (const button of document.querySelectorAll("nav button")) button.ariaPressed = String(button.dataset.to === name);
}

function newChat() {
  running?.abort();
  messages = [];
  $("turns").replaceChildren();
  $("welcome").hidden = false;
  showView("chat");
  $("text").focus();
}

function startChat() {
  $("composer").addEventListener("submit", (event) => (event.preventDefault(), submit()));
  $("text").addEventListener("input", growText);
  $("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("new").addEventListener("click", newChat);
  for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => showView(button.dataset.to));
  for (const { text, tools } of SUGGESTIONS) {
    const button = el("button", "", text);
    button.type = "button";
    button.addEventListener("click", () => {
      $("tools").checked ||= Boolean(tools);
      ask(text);
    });
    $("suggestions").append(el("li", "", button));
  }
  growText();
}
