// Elements, and files to and from the reader's computer.

/** An element with properties and children; `aria-...` and `data-...` are attributes. */
export function node(tag, properties = {}, children = []) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (/^(aria|data)-|^(role|for|tabindex)$/.test(name)) made.setAttribute(name, value);
    else made[name] = value;
  made.append(...children);
  return made;
}

export function textButton(text, act, properties = {}) {
  return node("button", { type: "button", className: "pbe-button", textContent: text,
    onclick: act, ...properties });
}

/** "image/png" or "image/jpeg": what Python sends. */
export function pictureType(bytes) {
  return bytes.getUint8(0) === 0xff ? "image/jpeg" : "image/png";
}

/** A DataView of a picture's bytes as an address for <img>; revoke it afterwards. */
export function pictureUrl(bytes) {
  const type = bytes.byteLength ? pictureType(bytes) : "image/png";
  return URL.createObjectURL(new Blob([bytes], { type }));
}

/** Let the browser save bytes under a name. */
export function download(bytes, name) {
  const href = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
  const link = node("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}
