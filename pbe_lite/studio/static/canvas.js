// The canvas of MaskPainter and of the exemplar's crop box.
//
// Here everything is drawn at the browser's rate; Python is told of a mark once, when the
// pointer goes up.  Python makes the mask of it and sends that back.  Until then the mark
// is drawn here ("pending"), on top of the mask that is known.
//
// Traits read: picture (PNG or JPEG), size ([width, height] of it), mask (packed bits),
// done (id of the last message that is in the mask), tools, crop, label, note, can_undo,
// can_redo.  Messages sent: {do: "mark", mark, id}, {do: "undo" | "redo", id},
// {do: "ready" | "save"}; to "save" Python answers with a PNG.

import { download, node, pictureUrl } from "./dom.js";
import { drawGuides, drawLayer, drawTint, maskCanvas, stripes } from "./drawing.js";
import { Frame } from "./frame.js";
import { clamp, isWhole } from "./marks.js";
import { tendTo } from "./page.js";
import { Pen, usePointers } from "./pen.js";
import { makeToolbar } from "./toolbar.js";
import { HINTS, KEYS, command } from "./tools.js";

const FINE = 768; // pixels that the canvas has at least on its longer side
const PATIENCE = 5000; // milliseconds that Python may take to answer
const SILENT = "Python does not answer: it is busy; or run the cell again.";
const ON_CANVAS = ["press", "drop", "hand", "move"]; // elsewhere these keys have a use
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

class Painter {
  constructor(model, el) {
    Object.assign(this, { model, el, pending: [], hover: null, count: 0 });
    this.name = Math.random().toString(36).slice(2); // two views share one model
    this.pen = new Pen(model.get("tools")[0],
      () => ({ width: this.size.value / 100, crop: model.get("crop") }));
    this.hand = false; // whether dragging moves the picture
    this.build();
    this.listen();
    this.showPicture();
    this.leave = tendTo(el);
    model.send({ do: "ready" });
  }

  build() {
    const { el, model } = this;
    const label = model.get("label");
    this.image = node("img", { className: "pbe-picture", alt: "", draggable: false });
    this.canvas = node("canvas", { className: "pbe-overlay", tabIndex: 0,
      role: "application", "aria-label": `picture: draw the ${label}. ${KEYS}` });
    this.frame = new Frame(this.canvas, this.image);
    this.hint = node("p", { className: "pbe-hint", "aria-live": "polite" });
    Object.assign(this, makeToolbar(model.get("tools"), label, (what) => this.act(what)));
    el.classList.add("pbe-canvas");
    el.classList.toggle("pbe-crop", model.get("crop"));
    el.replaceChildren(this.bar, this.frame.element, this.hint);
  }

  listen() {
    const { canvas, model } = this;
    usePointers(canvas, this.frame, this.pen, { add: (mark) => this.add(mark),
      hands: () => this.hand, seen: (point) => this.point(point) });
    canvas.onblur = () => {
      if (this.pen.pressed) this.pen.drop();
      this.redraw();
    };
    canvas.onfocus = () => this.redraw();
    this.el.onkeydown = (e) => this.key(e);
    this.heard = {
      "change:picture": () => this.showPicture(),
      "change:mask": () => this.refresh(),
      "change:done": () => this.refresh(),
      "change:note": () => this.refresh(),
      "msg:custom": (message, buffers) => this.hear(message, buffers),
    };
    for (const [event, act] of Object.entries(this.heard)) model.on(event, act);
  }

  close() {
    cancelAnimationFrame(this.request);
    clearTimeout(this.waiting);
    for (const [event, act] of Object.entries(this.heard)) this.model.off(event, act);
    this.frame.close();
    this.leave();
    URL.revokeObjectURL(this.url);
  }

  // ---- what Python says

  showPicture() {
    const [width, height] = this.model.get("size");
    const finer = Math.max(1, Math.ceil(FINE / Math.max(width, height)));
    URL.revokeObjectURL(this.url);
    this.url = pictureUrl(this.model.get("picture"));
    Object.assign(this.image, { src: this.url, width, height });
    Object.assign(this.canvas, { width: width * finer, height: height * finer });
    this.layer = node("canvas", { width, height });
    this.pattern = stripes(this.canvas.getContext("2d"));
    this.frame.show([width, height]);
    this.refresh();
  }

  refresh() {
    const { model } = this;
    const [width, height] = model.get("size");
    const seen = this.pending.findIndex((p) => p.id === model.get("done"));
    this.pending.splice(0, seen + 1);
    if (!this.pending.length) clearTimeout(this.waiting);
    this.known = maskCanvas(bytes(model.get("mask")), width, height);
    this.named.Undo.disabled = !model.get("can_undo");
    this.named.Redo.disabled = !model.get("can_redo");
    this.choose(this.pen.tool);
    this.redraw();
  }

  hear(message, buffers) {
    if (message.do === "save" && this.saves) download(buffers[0], message.name);
    this.saves = false;
  }

  // ---- what the person does

  /** A command of a key or a button, see tools.js. */
  act(what) {
    const { frame } = this;
    const acts = {
      choose: () => this.choose(what.tool, false),
      size: () => this.resize(what.by),
      zoom: () => frame.zoom(what.by),
      whole: () => frame.whole(),
      hide: () => this.hide(),
      hand: () => this.choose(this.pen.tool, !this.hand),
      invert: () => this.add({ kind: "invert" }),
      grow: () => this.add({ kind: "grow", by: what.by }),
      clear: () => this.add({ kind: "clear" }),
      undo: () => this.tell({ do: "undo" }),
      redo: () => this.tell({ do: "redo" }),
      press: () => this.press(),
      drop: () => this.pen.drop(),
      move: () => this.moveCross(what.to, what.step),
      save: () => this.save(),
    };
    acts[what.do]?.();
    this.redraw();
  }

  key(e) {
    e.stopPropagation();
    const what = command(e);
    const elsewhere = e.target !== this.canvas;
    if (!what || (elsewhere && ON_CANVAS.includes(what.do))) return;
    const known = { choose: this.tools[what.tool], invert: this.named.Invert,
      grow: this.named.Grow, hide: this.named.Hide };
    if (what.do in known && !known[what.do]) return; // a crop box has no such tool
    e.preventDefault();
    this.act(what);
  }

  choose(tool, hand = this.hand) {
    this.pen.tool = tool;
    this.hand = hand;
    for (const [name, button] of Object.entries(this.tools))
      button.setAttribute("aria-pressed", String(name === tool && !hand));
    this.named.Move?.setAttribute("aria-pressed", String(hand));
    this.sizes.style.visibility = this.isSized() ? "visible" : "hidden";
    this.canvas.dataset.tool = hand ? "hand" : tool;
    const hint = hand ? "Drag to move the picture; Space draws again." : HINTS[tool];
    this.hint.textContent = this.model.get("note") || hint;
    this.hint.classList.toggle("pbe-error", Boolean(this.model.get("note")));
  }

  isSized() {
    return !this.hand && ["brush", "eraser"].includes(this.pen.tool);
  }

  resize(by) {
    this.size.value = clamp(Math.round(this.size.value * by + Math.sign(by - 1)), 1, 40);
    this.size.oninput();
  }

  hide() {
    this.hidden = !this.hidden;
    this.canvas.classList.toggle("pbe-hidden", this.hidden);
    this.named.Hide.setAttribute("aria-pressed", String(this.hidden));
  }

  save() {
    this.saves = true;
    this.model.send({ do: "save" });
  }

  point(hover) {
    this.hover = hover;
    this.redraw();
  }

  moveCross(to, step) {
    this.pen.move(to, step / this.frame.view.scale, this.frame.middle());
    this.hint.textContent = this.pen.pressed ? "Enter ends it." : KEYS;
  }

  press() {
    const mark = this.pen.press(this.frame.middle());
    if (mark) this.add(mark);
    else this.hint.textContent = "Move on with the arrows; Enter ends it.";
  }

  add(mark) {
    if (isWhole(mark, this.model.get("size"))) this.tell({ do: "mark", mark });
  }

  tell(message) {
    const id = `${this.name}:${++this.count}`;
    if (message.mark) this.pending.push({ id, mark: message.mark });
    this.model.send({ ...message, id });
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      if (this.pending.length) this.hint.textContent = SILENT;
    }, PATIENCE);
    this.redraw();
  }

  // ---- drawing

  redraw() {
    if (this.request || !this.layer || !this.known) return;
    this.request = requestAnimationFrame(() => {
      this.request = 0;
      this.draw();
    });
  }

  draw() {
    const crop = this.model.get("crop");
    const { mark, cross } = this.pen;
    const marks = [...this.pending.map((waiting) => waiting.mark), ...(mark ? [mark] : [])];
    drawLayer(this.layer, this.known, marks, crop);
    drawTint(this.canvas, this.layer, crop ? "black" : this.pattern);
    drawGuides(this.canvas, {
      circle: this.hover && this.isSized()
        ? { at: this.hover, radius: this.size.value / 200 } : null,
      outline: mark?.kind === "lasso" ? mark.points : null,
      cross: document.activeElement === this.canvas ? cross : null,
    }, this.frame.view?.scale ?? 1);
  }
}

function render({ model, el }) {
  const view = new Painter(model, el);
  return () => view.close();
}

export default { render };
