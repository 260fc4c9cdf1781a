// Python to read, select and copy.  Trait read: value.

import { node, textButton } from "./dom.js";

const NONE = "After Paint: code that gives the same pictures again.";

/** A page without https has no clipboard; then what is selected is copied. */
async function copy(area) {
  try {
    await navigator.clipboard.writeText(area.value);
  } catch {
    area.select();
    document.execCommand("copy");
  }
}

function render({ model, el }) {
  const area = node("textarea", { readOnly: true, rows: 9, spellcheck: false,
    placeholder: NONE, "aria-label": "the same in Python" });
  const button = textButton("Copy the code", async () => {
    await copy(area);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy the code"; }, 1500);
  });
  const show = () => {
    area.value = model.get("value");
    button.disabled = !area.value;
  };
  const heading = node("h3", { className: "pbe-title", textContent: "The same in Python" });
  el.classList.add("pbe-code");
  el.replaceChildren(node("div", { className: "pbe-heading" }, [heading, button]), area);
  model.on("change:value", show);
  show();
  return () => model.off("change:value", show);
}

export default { render };
