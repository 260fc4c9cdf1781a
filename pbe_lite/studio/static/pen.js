// The mark that is being drawn, by a pointer or by keys.

import { clamp, extendMark, round, startMark } from "./marks.js";

export class Pen {
  /** options() -> {width, crop}: the brush's width, and whether boxes replace all. */
  constructor(tool, options) {
    Object.assign(this, { tool, options, mark: null, pressed: false });
    this.cross = null; // where the keys are
  }

  begin(point) {
    const { width, crop } = this.options();
    this.from = point;
    this.mark = startMark(this.tool, point, width, crop);
  }

  extend(point) {
    if (this.mark) extendMark(this.mark, this.from, point);
  }

  /** Forget the mark; returns it. */
  drop() {
    const { mark } = this;
    Object.assign(this, { mark: null, pressed: false });
    return mark;
  }

  /** Move the cross of the keys by a step; the first time it is in the middle. */
  move([dx, dy], step, middle) {
    const [x, y] = this.cross ?? middle;
    this.cross = [round(clamp(x + dx * step)), round(clamp(y + dy * step))];
    if (this.pressed) this.extend(this.cross);
  }

  /** Begin at the cross, or end there; returns the mark that has ended, or null. */
  press(middle) {
    this.cross ??= middle;
    if (this.pressed) return this.drop();
    this.begin(this.cross);
    this.pressed = true;
    return null;
  }
}

/** Let pointers on a canvas use the pen, or move and zoom its frame; add(mark) takes what
 * was drawn, hands() says whether a drag moves the picture, seen(point) where it hovers. */
export function usePointers(canvas, frame, pen, { add, hands, seen }) {
  const { fingers } = frame;
  let pans = false;

  function capture(e) {
    try {
      canvas.setPointerCapture(e.pointerId);
    } catch {
      // a pointer made up by a script cannot be captured
    }
  }
  function lose(e) {
    fingers.delete(e.pointerId);
    if (!pen.pressed) pen.drop();
    seen(frame.where(e));
  }
  canvas.onpointerdown = (e) => {
    if (e.button > 1 || fingers.size === 2) return;
    e.preventDefault();
    canvas.focus({ preventScroll: true });
    pen.drop();
    fingers.set(e.pointerId, frame.inFrame(e));
    capture(e);
    pans = hands() || e.button === 1 || fingers.size === 2;
    if (!pans) pen.begin(frame.where(e));
    seen(frame.where(e));
  };
  canvas.onpointermove = (e) => {
    if (fingers.has(e.pointerId)) {
      if (pans) frame.follow(e);
      const events = e.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [e])
        if (!pen.pressed) pen.extend(frame.where(each));
    }
    seen(frame.where(e));
  };
  canvas.onpointerup = (e) => {
    if (!fingers.has(e.pointerId)) return;
    pen.extend(frame.where(e));
    const mark = pen.drop();
    lose(e);
    if (mark) add(mark);
  };
  canvas.onpointercancel = canvas.onlostpointercapture = lose;
  canvas.onpointerleave = () => seen(null);
}
