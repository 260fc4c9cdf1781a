// A result: its picture, what made it, and buttons.
//
// Traits read: picture, caption, details, known.  Messages sent: {do: "use" | "again" |
// "open" | "save"}; answers: {do: "open"} with pictures, {do: "save", name} with a PNG.

import { openResult } from "./compare.js";
import { download, node, pictureUrl, textButton } from "./dom.js";

const ACTS = [["use", "Use as source", "edit this picture next"],
  ["again", "Settings", "put back source, hole, exemplar and settings"],
  ["save", "Save PNG", "to your computer, with its settings inside"]];

function render({ model, el }) {
  const caption = model.get("caption");
  const url = pictureUrl(model.get("picture"));
  let asked = false; // another view of this card may have asked
  const ask = (what) => {
    asked = true;
    model.send({ do: what });
  };
  const buttons = (done = () => {}) => ACTS
    .filter(([act]) => act !== "again" || model.get("known"))
    .map(([act, text, title]) => textButton(text, () => {
      done();
      ask(act);
    }, { title, "aria-label": `${text}: ${caption}` }));
  const image = node("img", { src: url, alt: `${caption}. ${model.get("details")}` });
  const open = node("button", { type: "button", className: "pbe-open", title: "enlarge",
    "aria-label": `Enlarge: ${caption}`, onclick: () => ask("open") }, [image]);
  const words = node("p", {}, [node("b", { textContent: caption }),
    node("span", { textContent: model.get("details") })]);
  const heard = (message, buffers) => {
    if (!asked) return;
    asked = false;
    if (message.do === "save") download(buffers[0], message.name);
    else if (message.do === "open")
      openResult(el, buffers.map(pictureUrl), caption, model.get("details"), buttons);
  };
  el.classList.add("pbe-card");
  el.replaceChildren(open, words, ...buttons());
  model.on("msg:custom", heard);
  return () => {
    model.off("msg:custom", heard);
    URL.revokeObjectURL(url);
  };
}

export default { render };
