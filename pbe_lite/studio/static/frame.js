// The frame that shows the picture and its overlay: zoom, pan, fingers.

import { node } from "./dom.js";
import { clamp, round } from "./marks.js";
import { firstView, fitted, panned, pinch, zoomed } from "./viewport.js";

const LOWEST = 96; // pixels that the frame is high at least

export class Frame {
  constructor(canvas, image) {
    this.canvas = canvas;
    this.sheet = node("div", { className: "pbe-sheet" }, [image, canvas]);
    this.element = node("div", { className: "pbe-stage" }, [this.sheet]);
    this.size = [1, 1];
    this.fingers = new Map();
    this.element.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    this.resized = () => this.layout();
    this.watcher = new ResizeObserver(() => {
      if (this.element.clientWidth !== this.wide) this.layout();
    });
    this.watcher.observe(this.element);
    window.addEventListener("resize", this.resized);
  }

  close() {
    this.watcher.disconnect();
    window.removeEventListener("resize", this.resized);
  }

  /** A picture of another size [w, h] is shown from now on. */
  show(size) {
    const same = String(size) === String(this.size);
    this.size = size;
    if (!same) this.view = null;
    this.layout();
  }

  /** As large as the width, and the style sheet's max-height, allow. */
  layout() {
    this.wide = this.element.clientWidth;
    if (!this.wide) return;
    const high = parseFloat(getComputedStyle(this.element).maxHeight) || this.wide;
    this.fit = fitted(this.size, [this.wide, high]);
    this.room = [this.wide, Math.max(LOWEST, this.fit[1])];
    this.element.style.height = `${this.room[1]}px`;
    const [width, height] = this.fit.map((v) => `${v}px`);
    Object.assign(this.sheet.style, { width, height });
    this.apply(this.view ? panned(this.view, [0, 0], this.fit, this.room)
      : firstView(this.fit, this.room));
  }

  apply(view) {
    this.view = view;
    this.sheet.style.transform =
      `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  }

  whole() {
    this.apply(panned({ scale: 1, x: 0, y: 0 }, [0, 0], this.fit, this.room));
  }

  zoom(factor, at = this.room.map((v) => v / 2)) {
    this.apply(zoomed(this.view, factor, at, this.fit, this.room));
  }

  pan(by) {
    this.apply(panned(this.view, by, this.fit, this.room));
  }

  wheel(e) {
    if (!e.ctrlKey && !e.metaKey) return; // without a key the page scrolls
    e.preventDefault();
    this.zoom(Math.exp(-e.deltaY / 200), this.inFrame(e));
  }

  /** Pixels of the frame. */
  inFrame(e) {
    const r = this.element.getBoundingClientRect();
    return [e.clientX - r.left, e.clientY - r.top];
  }

  /** Fractions of the picture. */
  where(e) {
    const r = this.canvas.getBoundingClientRect();
    return [(e.clientX - r.left) / r.width, (e.clientY - r.top) / r.height].map(round);
  }

  /** Fractions of the picture in the middle of what is seen. */
  middle() {
    return this.fit.map((length, i) => {
      const seen = (this.room[i] / 2 - [this.view.x, this.view.y][i]) / this.view.scale;
      return round(clamp(seen / length));
    });
  }

  /** A pointer that moved: two fingers zoom and move, one moves. */
  follow(e) {
    const before = this.fingers.get(e.pointerId);
    const now = this.inFrame(e);
    this.fingers.set(e.pointerId, now);
    if (this.fingers.size === 1) this.pan([now[0] - before[0], now[1] - before[1]]);
    if (this.fingers.size !== 2) return;
    const [other] = [...this.fingers].filter(([id]) => id !== e.pointerId);
    const { factor, at, by } = pinch([before, other[1]], [now, other[1]]);
    this.pan(by);
    this.zoom(factor, at);
  }
}
