// Elements, icons, and what a screen reader is told.

export const $ = (id) => document.getElementById(id);

export function el(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

const ICONS = {
  copy: "M5.5 5.5V3.2h7.3v7.3h-2.3M3.2 5.5h7.3v7.3H3.2z",
  edit: "M3.2 12.8l.6-2.6 7-7 2 2-7 7z",
  again: "M12.6 6.2A5 5 0 1 0 13 9M12.8 3v3.3H9.5",
  remove: "M3.5 4.7h9M6.2 4.5V3.2h3.6v1.3M4.6 4.8l.6 8h5.6l.6-8",
  done: "M3.5 8.5l3 3 6-7",
  rename: "M3.2 12.8l.6-2.6 7-7 2 2-7 7z",
};

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

export function button(label, onClick, className = "") {
  const node = el("button", className, label);
  node.type = "button";
  node.addEventListener("click", onClick);
  return node;
}

export function iconButton(name, label, onClick) {
  const node = button(icon(name), onClick, "icon");
  node.title = node.ariaLabel = label;
  return node;
}

export function copyButton(text, label = "Copy") {
  const node = iconButton("copy", label, async () => {
    await navigator.clipboard.writeText(text());
    node.replaceChildren(icon("done"));
    announce("Copied.");
    setTimeout(() => node.replaceChildren(icon("copy")), 1500);
  });
  return node;
}

// One short sentence for screen readers; the conversation itself is not read out while it grows.
export function announce(words) {
  $("announcer").textContent = words;
}

export function describe(list, facts) {
  const known = Object.entries(facts).filter(([, value]) => value !== null && value !== undefined);
  list.replaceChildren(...known.flatMap(([name, value]) => [el("dt", "", name), el("dd", "", String(value))]));
}
