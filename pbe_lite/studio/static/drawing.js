// What lies over the picture: the mask in stripes, and lines for tool, lasso and keys.

import { node } from "./dom.js";
import { drawMark, maskPixels, trace } from "./marks.js";

/** Packed bits -> a canvas, opaque where the bit is 1. */
export function maskCanvas(bits, width, height) {
  const canvas = node("canvas", { width, height });
  const c = canvas.getContext("2d");
  c.putImageData(maskPixels(bits, c.createImageData(width, height)), 0, 0);
  return canvas;
}

/** Magenta stripes: legible on a picture of any colour. */
export function stripes(c) {
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

/** The mask that is known, and marks that Python has not drawn yet, onto `layer`. */
export function drawLayer(layer, known, marks, crop) {
  const { width, height } = layer;
  const c = layer.getContext("2d");
  c.clearRect(0, 0, width, height);
  c.drawImage(known, 0, 0);
  for (const mark of marks) drawMark(c, mark);
  if (!crop) return;
  c.globalCompositeOperation = "xor"; // a crop box tints what is outside
  c.fillRect(0, 0, width, height);
  c.globalCompositeOperation = "source-over";
}

/** The layer in a tint over the whole canvas. */
export function drawTint(canvas, layer, tint) {
  const { width, height } = canvas;
  const c = canvas.getContext("2d");
  c.clearRect(0, 0, width, height);
  c.imageSmoothingEnabled = false;
  c.drawImage(layer, 0, 0, width, height);
  c.globalCompositeOperation = "source-in";
  c.globalAlpha = 0.6;
  c.fillStyle = tint;
  c.fillRect(0, 0, width, height);
  c.globalCompositeOperation = "source-over";
  c.globalAlpha = 1;
}

/** Lines in white on black: a circle {at, radius}, an outline of points, a cross. */
export function drawGuides(canvas, { circle, outline, cross }, scale) {
  const { width, height } = canvas;
  const c = canvas.getContext("2d");
  c.beginPath();
  if (outline) trace(c, outline, width, height);
  if (circle) {
    const [x, y] = [circle.at[0] * width, circle.at[1] * height];
    const radius = circle.radius * Math.min(width, height);
    c.moveTo(x + radius, y);
    c.arc(x, y, radius, 0, 2 * Math.PI);
  }
  if (cross) {
    const [x, y, arm] = [cross[0] * width, cross[1] * height, 24 / scale];
    c.moveTo(x - arm, y);
    c.lineTo(x + arm, y);
    c.moveTo(x, y - arm);
    c.lineTo(x, y + arm);
  }
  for (const [colour, line] of [["black", 5], ["white", 2]]) {
    Object.assign(c, { strokeStyle: colour, lineWidth: line / scale });
    c.stroke();
  }
}
