// The canvas of MaskPainter and of the exemplar's crop box.
//
// Here everything is drawn at the browser's rate; Python is told of a mark once, when the
// pointer goes up.  Python makes the mask of it and sends that back.  Until then the mark
// is drawn here ("pending"), on top of the mask that is known.
//
// Traits read: picture (PNG), size ([width, height] of it), mask (packed bits), done (id of
// the last message that is in the mask), tools, crop, label, note, can_undo, can_redo.
// Messages sent: {do: "mark", mark, id}, {do: "undo" | "redo", id}, {do: "ready"}.

const NAMES = { brush: "Brush", eraser: "Eraser", box: "Box", lasso: "Lasso" };
const KEYS = "Keys: arrows move a cross, Enter sets a corner, Escape drops it.";
const HINTS = {
  brush: "Drag over the picture to add to it.",
  eraser: "Drag over the picture to take away from it.",
  box: `Drag from corner to corner. ${KEYS}`,
  lasso: "Drag around what shall belong to it.",
};
const ARROWS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};
const FINE = 768; // pixels that the canvas has at least on its longer side
const clamp = (value) => Math.min(1, Math.max(0, value));
const round = (value) => Math.round(value * 1e4) / 1e4;
const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function node(tag, properties = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ------------------------------------------------------------------ masks and marks

/** Packed bits, the first in the top bit -> a canvas, opaque where the bit is 1. */
function maskCanvas(bits, width, height) {
  const canvas = node("canvas", { width, height });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++)
    if ((bits[i >> 3] >> (7 - (i & 7))) & 1) pixels.data[4 * i + 3] = 255;
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function trace(c, points, width, height) {
  c.beginPath();
  for (const [x, y] of points) c.lineTo(x * width, y * height);
}

/** What Python's strokes.draw does, as near as a canvas comes to it. */
function drawMark(c, mark) {
  const { width, height } = c.canvas;
  c.save();
  if (mark.kind === "clear" || mark.kind === "frame") c.clearRect(0, 0, width, height);
  if (mark.kind === "eraser") c.globalCompositeOperation = "destination-out";
  if (mark.box) {
    const [x0, y0, x1, y1] = mark.box;
    c.fillRect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
  } else if (mark.kind === "lasso") {
    trace(c, mark.points, width, height);
    c.fill();
  } else if (mark.points) {
    const [x, y] = mark.points.at(-1);
    c.lineWidth = mark.width * Math.min(width, height);
    c.lineCap = c.lineJoin = "round";
    trace(c, [...mark.points, [x + 1e-4, y]], width, height); // a dot is a short line
    c.stroke();
  }
  c.restore();
}

function boxBetween([ax, ay], [bx, by]) {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)]
    .map((v) => round(clamp(v)));
}

/** Whether Python could draw it: a lasso needs an inside, a box two sides. */
function isWhole(mark, [width, height]) {
  if (mark.kind === "lasso") return mark.points.length > 2;
  if (!mark.box) return true;
  const [x0, y0, x1, y1] = mark.box;
  return (x1 - x0) * width >= 0.5 && (y1 - y0) * height >= 0.5;
}

/** Magenta stripes: legible on a picture of any colour. */
function stripes(c) {
  const tile = node("canvas", { width: 16, height: 16 });
  const t = tile.getContext("2d");
  t.fillStyle = "#e6007e";
  t.fillRect(0, 0, 16, 16);
  t.strokeStyle = "#ffb3da";
  t.lineWidth = 4;
  for (const shift of [-16, 0, 16]) {
    t.moveTo(shift - 2, 18);
    t.lineTo(shift + 18, -2);
  }
  t.stroke();
  return c.createPattern(tile, "repeat");
}

// ---------------------------------------------------------------------------- the view

class Painter {
  constructor(model, el) {
    Object.assign(this, { model, pending: [], mark: null, hover: null, count: 0 });
    this.name = Math.random().toString(36).slice(2); // two views share one model
    this.tool = model.get("tools")[0];
    this.cross = null; // where the keys are, and the corner that they have set
    this.corner = null;
    this.build(el);
    this.listen();
    this.showPicture();
    model.send({ do: "ready" });
  }

  build(el) {
    const { model } = this;
    el.classList.add("pbe-canvas");
    el.dataset.lmSuppressShortcuts = "true"; // JupyterLab keeps its keys to itself
    this.image = node("img", { className: "pbe-picture", alt: "", draggable: false });
    this.canvas = node("canvas", { className: "pbe-overlay", tabIndex: 0 });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", `picture: draw the ${model.get("label")}`);
    this.hint = node("p", { className: "pbe-hint" });
    this.hint.setAttribute("aria-live", "polite");
    const stage = node("div", { className: "pbe-stage" }, [this.image, this.canvas]);
    el.replaceChildren(this.toolbar(), stage, this.hint);
    this.el = el;
  }

  toolbar() {
    const { model } = this;
    const tools = model.get("tools");
    const button = (text, act) => node("button", { type: "button", textContent: text,
      className: "pbe-button", onclick: act });
    this.buttons = Object.fromEntries(tools.map((tool) =>
      [tool, button(NAMES[tool], () => this.choose(tool))]));
    this.undo = button("Undo", () => this.tell({ do: "undo" }));
    this.redo = button("Redo", () => this.tell({ do: "redo" }));
    const clear = button("Clear", () => this.add({ kind: "clear" }));
    this.size = node("input", { type: "range", min: 1, max: 40, value: 12 });
    this.sizes = node("label", { className: "pbe-size" }, ["Size", this.size]);
    const bar = node("div", { className: "pbe-toolbar" },
      tools.length > 1
        ? [...Object.values(this.buttons), this.undo, this.redo, clear, this.sizes]
        : [this.undo, this.redo]);
    bar.setAttribute("role", "toolbar");
    bar.setAttribute("aria-label", `tools for the ${model.get("label")}`);
    return bar;
  }

  listen() {
    const { canvas, model } = this;
    canvas.onpointerdown = (e) => this.down(e);
    canvas.onpointermove = (e) => this.move(e);
    canvas.onpointerup = (e) => this.up(e);
    canvas.onpointercancel = canvas.onlostpointercapture = () => this.drop();
    canvas.onpointerleave = () => this.point(null);
    canvas.onblur = () => (this.corner ? this.drop() : this.redraw());
    canvas.onkeydown = (e) => this.key(e);
    this.el.onkeydown = (e) => e.stopPropagation();
    this.heard = {
      "change:picture": () => this.showPicture(),
      "change:mask": () => this.refresh(),
      "change:done": () => this.refresh(),
      "change:note": () => this.refresh(),
    };
    for (const [event, act] of Object.entries(this.heard)) model.on(event, act);
  }

  close() {
    cancelAnimationFrame(this.frame);
    for (const [event, act] of Object.entries(this.heard)) this.model.off(event, act);
    URL.revokeObjectURL(this.url);
  }

  // ---- what Python says

  showPicture() {
    const [width, height] = this.model.get("size");
    const finer = Math.max(1, Math.ceil(FINE / Math.max(width, height)));
    URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(
      new Blob([this.model.get("picture")], { type: "image/png" }));
    Object.assign(this.image, { src: this.url, width, height });
    Object.assign(this.canvas, { width: width * finer, height: height * finer });
    this.layer = node("canvas", { width, height });
    this.pattern = stripes(this.canvas.getContext("2d"));
    this.refresh();
  }

  refresh() {
    const { model } = this;
    const [width, height] = model.get("size");
    const seen = this.pending.findIndex((p) => p.id === model.get("done"));
    this.pending.splice(0, seen + 1);
    this.known = maskCanvas(bytes(model.get("mask")), width, height);
    this.undo.disabled = !model.get("can_undo");
    this.redo.disabled = !model.get("can_redo");
    this.choose(this.tool);
    this.redraw();
  }

  // ---- what the person does

  choose(tool) {
    this.tool = tool;
    for (const [name, button] of Object.entries(this.buttons))
      button.setAttribute("aria-pressed", String(name === tool));
    this.sizes.style.visibility = this.isSized() ? "visible" : "hidden";
    this.canvas.dataset.tool = tool;
    this.hint.textContent = this.model.get("note") || HINTS[tool];
    this.hint.classList.toggle("pbe-error", Boolean(this.model.get("note")));
  }

  isSized() {
    return this.tool === "brush" || this.tool === "eraser";
  }

  where(e) {
    const r = this.canvas.getBoundingClientRect();
    return [(e.clientX - r.left) / r.width, (e.clientY - r.top) / r.height].map(round);
  }

  start(point) {
    this.from = point;
    const width = this.size.value / 100;
    if (this.tool === "box") return { kind: this.boxKind(), box: boxBetween(point, point) };
    if (this.tool === "lasso") return { kind: "lasso", points: [point] };
    return { kind: this.tool, points: [point], width };
  }

  boxKind() {
    return this.model.get("crop") ? "frame" : "box";
  }

  extend(point) {
    if (this.mark.box) this.mark.box = boxBetween(this.from, point);
    else this.mark.points.push(point);
  }

  down(e) {
    if (e.button !== 0 || this.pointer !== undefined) return; // one finger at a time
    e.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.drop();
    this.pointer = e.pointerId;
    try {
      this.canvas.setPointerCapture(e.pointerId);
    } catch {
      // a pointer made up by a script cannot be captured
    }
    this.mark = this.start(this.where(e));
    this.redraw();
  }

  move(e) {
    this.point(this.where(e));
    if (e.pointerId !== this.pointer || !this.mark) return;
    const events = e.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [e]) this.extend(this.where(each));
  }

  up(e) {
    if (e.pointerId !== this.pointer) return;
    if (this.mark) this.extend(this.where(e));
    const { mark } = this;
    this.drop();
    if (mark) this.add(mark);
  }

  drop() {
    Object.assign(this, { mark: null, pointer: undefined, corner: null });
    this.redraw();
  }

  point(hover) {
    this.hover = hover;
    this.redraw();
  }

  key(e) {
    const command = e.ctrlKey || e.metaKey;
    if (ARROWS[e.key]) this.moveCross(ARROWS[e.key], e.shiftKey ? 0.1 : 0.02);
    else if (e.key === "Enter" || e.key === " ") this.setCorner();
    else if (e.key === "Escape") this.drop();
    else if (command && e.key === "z") this.tell({ do: "undo" });
    else if (command && e.key === "y") this.tell({ do: "redo" });
    else return;
    e.preventDefault();
  }

  moveCross([dx, dy], step) {
    const [x, y] = this.cross ?? [0.5, 0.5];
    this.cross = [round(clamp(x + dx * step)), round(clamp(y + dy * step))];
    if (this.corner) this.mark.box = boxBetween(this.corner, this.cross);
    this.hint.textContent = this.corner ? "Enter sets the second corner." : KEYS;
    this.redraw();
  }

  setCorner() {
    const cross = this.cross ?? [0.5, 0.5];
    if (this.corner) {
      const { mark } = this;
      this.drop();
      this.add(mark);
      return;
    }
    this.cross = this.corner = cross;
    this.mark = { kind: this.boxKind(), box: boxBetween(cross, cross) };
    this.hint.textContent = "Arrows, then Enter for the second corner.";
    this.redraw();
  }

  add(mark) {
    if (isWhole(mark, this.model.get("size"))) this.tell({ do: "mark", mark });
  }

  tell(message) {
    const id = `${this.name}:${++this.count}`;
    if (message.mark) this.pending.push({ id, mark: message.mark });
    this.model.send({ ...message, id });
    this.redraw();
  }

  // ---- drawing

  redraw() {
    if (this.frame || !this.layer || !this.known) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.drawLayer();
      this.drawOverlay();
    });
  }

  drawLayer() {
    const { width, height } = this.layer;
    const c = this.layer.getContext("2d");
    c.clearRect(0, 0, width, height);
    c.drawImage(this.known, 0, 0);
    for (const { mark } of this.pending) drawMark(c, mark);
    if (this.mark) drawMark(c, this.mark);
    if (!this.model.get("crop")) return;
    c.globalCompositeOperation = "xor"; // a crop box tints what is outside
    c.fillRect(0, 0, width, height);
    c.globalCompositeOperation = "source-over";
  }

  drawOverlay() {
    const { width, height } = this.canvas;
    const c = this.canvas.getContext("2d");
    c.clearRect(0, 0, width, height);
    c.imageSmoothingEnabled = false;
    c.drawImage(this.layer, 0, 0, width, height);
    c.globalCompositeOperation = "source-in";
    c.globalAlpha = 0.6;
    c.fillStyle = this.model.get("crop") ? "black" : this.pattern;
    c.fillRect(0, 0, width, height);
    c.globalCompositeOperation = "source-over";
    c.globalAlpha = 1;
    this.drawGuides(c, width, height);
  }

  /** Lines in white on black: the tool under the pointer, the cross of the keys. */
  drawGuides(c, width, height) {
    c.beginPath();
    if (this.hover && this.isSized()) {
      const radius = (this.size.value / 200) * Math.min(width, height);
      c.arc(this.hover[0] * width, this.hover[1] * height, radius, 0, 2 * Math.PI);
    }
    if (this.mark?.kind === "lasso") trace(c, this.mark.points, width, height);
    if (this.cross && document.activeElement === this.canvas) {
      const [x, y] = [this.cross[0] * width, this.cross[1] * height];
      c.moveTo(x - 24, y);
      c.lineTo(x + 24, y);
      c.moveTo(x, y - 24);
      c.lineTo(x, y + 24);
    }
    for (const [colour, line] of [["black", 5], ["white", 2]]) {
      Object.assign(c, { strokeStyle: colour, lineWidth: line });
      c.stroke();
    }
  }
}

function render({ model, el }) {
  const view = new Painter(model, el);
  return () => view.close();
}

export default { render };
