// The buttons over the canvas.  act(command) is called as for a key, see tools.js.

import { node, textButton } from "./dom.js";
import { LETTERS, NAMES } from "./tools.js";

const CHANGES = [
  ["Invert", "I", { do: "invert" }], ["Grow", "G", { do: "grow", by: 0.02 }],
  ["Shrink", "Shift+G", { do: "grow", by: -0.02 }], ["Hide", "H", { do: "hide" }],
];
const VIEWS = [
  ["Move", "Space", { do: "hand" }], ["+", "+", { do: "zoom", by: 1.5 }, "Zoom in"],
  ["\u2212", "-", { do: "zoom", by: 1 / 1.5 }, "Zoom out"],
  ["Fit", "0", { do: "whole" }, "Fit the whole picture"],
];

function sizeControl(act) {
  const size = node("input", { type: "range", min: 1, max: 40, value: 12 });
  const shown = node("output", { textContent: "12 %" });
  size.oninput = () => {
    shown.textContent = `${Math.round(size.value)} %`;
    act({ do: "redraw" });
  };
  const label = node("label", { className: "pbe-size", title: "keys [ and ]" },
    ["Size", size, shown]);
  return { size, label };
}

/** {bar, tools, named, size, sizes}: the element, and what changes in it. */
export function makeToolbar(tools, label, act) {
  const button = (text, key, command, name = text) => textButton(text,
    () => act(command), { title: key ? `${name}, key ${key}` : name,
      "aria-label": tools.length > 1 ? name : `${name}: ${label}` });
  const chosen = Object.fromEntries(tools.map((tool) =>
    [tool, button(NAMES[tool], LETTERS[tool], { do: "choose", tool })]));
  const named = {
    Undo: button("Undo", "Ctrl+Z", { do: "undo" }),
    Redo: button("Redo", "Ctrl+Shift+Z", { do: "redo" }),
  };
  const { size, label: sizes } = sizeControl(act);
  const bar = node("div", { className: "pbe-toolbar", role: "toolbar",
    "aria-label": `tools for the ${label}` });
  if (tools.length > 1) {
    for (const [text, ...rest] of [...CHANGES, ...VIEWS])
      named[text] = button(text, ...rest);
    const clear = button("Clear", "", { do: "clear" });
    const save = button("Save mask", "", { do: "save" });
    const { Undo, Redo, ...others } = named;
    bar.append(...Object.values(chosen), sizes, Undo, Redo, clear, ...Object.values(others),
      save);
  } else bar.append(named.Undo, named.Redo);
  return { bar, tools: chosen, named, size, sizes };
}
