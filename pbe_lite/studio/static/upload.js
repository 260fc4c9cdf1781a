// A button that takes a file; files dropped on or pasted into its zone come here too.
//
// Traits read: label, tip, drops, glances.  Messages sent: see transfer.js.

import { node, textButton } from "./dom.js";
import { firstPicture, sendFile } from "./transfer.js";

/** Listeners at the window, since the zone around the button is not there yet. */
function acceptDrops(el, take) {
  const here = (e) => {
    const zone = e.target.closest?.(".pbe-zone");
    return zone && zone === el.closest(".pbe-zone");
  };
  const over = (e) => {
    if (!here(e) || !e.dataTransfer?.types.includes("Files")) return;
    e.preventDefault();
    e.stopPropagation();
  };
  const accept = (e, data) => {
    const file = here(e) && (firstPicture(data?.files) ?? data?.files?.[0]);
    if (!file) return;
    e.preventDefault();
    e.stopPropagation();
    take(file);
  };
  const heard = { dragover: over, drop: (e) => accept(e, e.dataTransfer),
    paste: (e) => accept(e, e.clipboardData) };
  for (const [name, act] of Object.entries(heard)) window.addEventListener(name, act, true);
  return () => Object.entries(heard).forEach(([name, act]) =>
    window.removeEventListener(name, act, true));
}

function render({ model, el }) {
  const label = model.get("label");
  const input = node("input", { type: "file", hidden: true, "aria-label": label,
    accept: "image/*" });
  const button = textButton(label, () => input.click(), { title: model.get("tip") });
  const take = async (file) => {
    const progress = (share) => { button.textContent = `${Math.round(100 * share)} %`; };
    await sendFile(model, file, { glances: model.get("glances"), progress });
    button.textContent = label;
  };
  input.onchange = () => {
    const [file] = input.files;
    if (file) take(file);
    input.value = ""; // so that the same file can be taken again
  };
  el.classList.add("pbe-upload");
  el.replaceChildren(button, input);
  return model.get("drops") ? acceptDrops(el, take) : undefined;
}

export default { render };
