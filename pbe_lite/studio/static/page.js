// What a part of the Studio owes to the page around it: keys stay inside, focus is kept,
// and what core ipywidgets leave without a name gets one.

const PARTS = ".pbe-studio, .pbe-painter, .pbe-picker";
const PARTNER = { "pbe-start": "pbe-stop", "pbe-stop": "pbe-start" };

/** The outermost part of the Studio that holds an element, or null. */
export function outermost(element) {
  let found = null;
  let part = element?.closest?.(PARTS);
  while (part) {
    found = part;
    part = part.parentElement?.closest(PARTS);
  }
  return found;
}

/** JupyterLab acts on single keys (x cuts a cell) before any element hears of them; it
 * leaves alone what carries this attribute.  Its own listener is at the document, so this
 * one is at the window.  Ctrl+S still saves the notebook. */
export function guardKeys(event) {
  const part = outermost(event.target);
  if (!part) return;
  const saves = (event.ctrlKey || event.metaKey) && event.key === "s";
  part.toggleAttribute("data-lm-suppress-shortcuts", !saves);
  if (!saves) part.onkeydown = (e) => e.stopPropagation();
}

/** A button that has just been disabled hands the focus to its partner. */
function keepFocus(changes, last) {
  for (const { target } of changes) {
    const here = document.activeElement;
    if (!target.disabled || (here !== target && here !== document.body)) continue;
    const [from] = Object.keys(PARTNER).filter((name) => target.classList.contains(name));
    if (from && last() === target)
      outermost(target).querySelector(`.${PARTNER[from]}`)?.focus();
  }
}

/** Names for the sliders' handles, bars and pictures of core ipywidgets. */
export function nameControls(part) {
  for (const slider of part.querySelectorAll(".widget-slider")) {
    const text = slider.querySelector(".widget-label")?.textContent || "value";
    for (const handle of slider.querySelectorAll(".noUi-handle"))
      handle.setAttribute("aria-label", text);
    slider.querySelector(".widget-readout")?.setAttribute("aria-label", `${text} as text`);
  }
  for (const bar of part.querySelectorAll(".progress")) {
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", "progress of the painting");
  }
  for (const image of part.querySelectorAll(".widget-image:not([alt])"))
    image.alt = "what is being painted";
}

/** Once for a page; `globalThis` because each widget has a module of its own. */
export function guardPage() {
  if (globalThis.pbeGuarded) return;
  globalThis.pbeGuarded = true;
  let last = null;
  window.addEventListener("keydown", guardKeys, true);
  window.addEventListener("focusin", (e) => { last = e.target; }, true);
  new MutationObserver((changes) => keepFocus(changes, () => last)).observe(document.body,
    { subtree: true, attributes: true, attributeFilter: ["disabled"] });
}

/** Call when a part is in the page: its core widgets come a moment later. */
export function tendTo(element) {
  guardPage();
  const tend = () => {
    const part = outermost(element);
    if (part) nameControls(part);
  };
  const timers = [200, 1000, 4000].map((wait) => setTimeout(tend, wait));
  return () => timers.forEach(clearTimeout);
}
