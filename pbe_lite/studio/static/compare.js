// A result in large: a slider between before and after, source and exemplar beside it.

import { node, textButton } from "./dom.js";

/** The slider; at `share` of the width the result begins. */
function slider(before, after) {
  const top = node("img", { src: after, alt: "after", className: "pbe-after" });
  const range = node("input", { type: "range", min: 0, max: 100, value: 50,
    "aria-label": "before and after" });
  const show = () => { top.style.clipPath = `inset(0 0 0 ${range.value}%)`; };
  range.oninput = show;
  show();
  const pictures = node("div", { className: "pbe-pair" },
    [node("img", { src: before, alt: "before" }), top]);
  return node("div", { className: "pbe-compare" }, [pictures, range]);
}

function figure(src, caption) {
  return node("figure", {}, [node("img", { src, alt: caption }),
    node("figcaption", { textContent: caption })]);
}

/** Open a dialog in `host`; urls: [result, source, exemplar] or [result]. */
export function openResult(host, urls, caption, details, buttons) {
  const [after, before, exemplar] = urls;
  const dialog = node("dialog", { className: "pbe-dialog", "aria-label": caption });
  const close = textButton("Close", () => dialog.close());
  const large = before ? slider(before, after)
    : node("div", { className: "pbe-compare" },
      [node("img", { src: after, alt: caption })]);
  const beside = before ? [figure(before, "source"), figure(exemplar, "exemplar")] : [];
  const side = node("div", { className: "pbe-beside" }, [
    node("h4", { textContent: caption }), node("p", { textContent: details }),
    ...beside, ...buttons(() => dialog.close()), close]);
  dialog.append(large, side);
  dialog.onclose = () => {
    dialog.remove();
    urls.forEach((url) => URL.revokeObjectURL(url));
  };
  host.append(dialog);
  dialog.showModal();
  return dialog;
}
