// Calls of the server with the key that this tab holds, and its errors in a person's words.

import { $ } from "./dom.js";

const KEY = "jangtq-key";
const GATEWAY = [502, 504];

export class Refused extends Error {}

export async function call(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const reply = await fetch(path, { ...options, headers });
    if (reply.status !== 401) return reply;
    // Another call may have asked for a new key meanwhile.
    if (sessionStorage.getItem(KEY) === key) await askForKey(key !== null);
  }
}

export const getJson = async (path) => (await call(path)).json();

export async function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const reply = await call(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!reply.ok) throw new Refused(await refusal(reply));
  return reply;
}

// What the server says; where something else answered in its place, what that means.
async function refusal(reply) {
  const text = await reply.text();
  try {
    const said = JSON.parse(text);
    return said.error?.message ?? said.detail ?? text;
  } catch {
    if (GATEWAY.includes(reply.status)) return "A proxy answered that it cannot reach the server. Is jangtq-coord serve running?";
    return `The server answered ${reply.status} without saying why.`;
  }
}

export function wordsOf(error) {
  if (error.name === "AbortError") return "Stopped.";
  if (error instanceof Refused) return error.message;
  if (error instanceof TypeError) return "The connection to the server was lost. Is jangtq-coord serve still running?";
  return `This page made a mistake: ${error.message}`;
}

let asked = null;

function askForKey(wasWrong) {
  asked ??= new Promise((resolve) => {
    $("key-wrong").textContent = wasWrong ? "The server does not know this key." : "";
    $("key-dialog").addEventListener("close", () => {
      if ($("key").value) sessionStorage.setItem(KEY, $("key").value.trim());
      asked = null;
      resolve();
    }, { once: true });
    $("key-dialog").showModal();
  });
  return asked;
}

export async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    yield* parts;
  }
}
