// Which key does what, and what the tools are called.

export const NAMES = { brush: "Brush", eraser: "Eraser", box: "Box", lasso: "Lasso" };
export const LETTERS = { brush: "B", eraser: "E", box: "R", lasso: "L" };
export const HINTS = {
  brush: "Drag to add to it.",
  eraser: "Drag to take away from it.",
  box: "Drag from corner to corner.",
  lasso: "Drag around what shall belong to it.",
};
export const KEYS = "By keys: arrows move a cross, Enter starts and ends, Escape drops it.";
const ARROWS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};
const TOOLS = { b: "brush", e: "eraser", r: "box", l: "lasso" };
const SINGLE = {
  "[": { do: "size", by: 1 / 1.25 }, "]": { do: "size", by: 1.25 },
  "+": { do: "zoom", by: 1.5 }, "=": { do: "zoom", by: 1.5 },
  "-": { do: "zoom", by: 1 / 1.5 },
  0: { do: "whole" }, h: { do: "hide" }, i: { do: "invert" }, g: { do: "grow", by: 0.02 },
  G: { do: "grow", by: -0.02 }, Enter: { do: "press" }, Escape: { do: "drop" },
  " ": { do: "hand" },
};

/** A key event -> {do: ...}, or null for a key that means nothing here. */
export function command({ key, ctrlKey, metaKey, altKey, shiftKey }) {
  if (ctrlKey || metaKey) {
    const letter = key.toLowerCase();
    if (letter === "z") return { do: shiftKey ? "redo" : "undo" };
    return letter === "y" ? { do: "redo" } : null;
  }
  if (altKey) return null;
  if (ARROWS[key]) return { do: "move", to: ARROWS[key], step: shiftKey ? 0.1 : 0.02 };
  if (TOOLS[key]) return { do: "choose", tool: TOOLS[key] };
  return SINGLE[key] ?? null;
}
