// A row of pictures to pick one from: buttons, so that keys and screen readers work.
//
// Traits read: pictures (PNG each), names, index (the one that is marked, -1 for none).
// Message sent: {do: "pick", index}.

import { tendTo } from "./page.js";

function render({ model, el }) {
  let urls = [];

  function mark() {
    [...el.children].forEach((button, i) =>
      button.setAttribute("aria-pressed", String(i === model.get("index"))));
  }

  function button(name, i) {
    const made = document.createElement("button");
    const image = document.createElement("img");
    Object.assign(image, { src: urls[i], alt: name, draggable: false });
    Object.assign(made, { type: "button", className: "pbe-thumbnail", title: name });
    made.onclick = () => model.send({ do: "pick", index: i });
    made.append(image);
    return made;
  }

  function fill() {
    urls.forEach((url) => URL.revokeObjectURL(url));
    urls = model.get("pictures").map((picture) =>
      URL.createObjectURL(new Blob([picture], { type: "image/png" })));
    el.replaceChildren(...model.get("names").slice(0, urls.length).map(button));
    mark();
  }

  el.classList.add("pbe-gallery");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "exemplars to pick from");
  model.on("change:pictures", fill);
  model.on("change:index", mark);
  const leave = tendTo(el);
  fill();
  return () => {
    leave();
    model.off("change:pictures", fill);
    model.off("change:index", mark);
    urls.forEach((url) => URL.revokeObjectURL(url));
  };
}

export default { render };
