// Elements, and calls of the server with the key that this tab holds.

const KEY = "jangtq-key";
const $ = (id) => document.getElementById(id);

function el(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

async function call(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const reply = await fetch(path, { ...options, headers });
    if (reply.status !== 401) return reply;
    // Another call may have asked for a new key meanwhile.
    if (sessionStorage.getItem(KEY) === key) await askForKey(key !== null);
  }
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

async function* events(reply) {
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
