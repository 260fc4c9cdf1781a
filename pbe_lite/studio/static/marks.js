// Marks and masks: what Python's strokes.py does, as near as a canvas comes to it.

export const clamp = (value, low = 0, high = 1) => Math.min(high, Math.max(low, value));
export const round = (value) => Math.round(value * 1e4) / 1e4;

/** Packed bits, the first in the top bit -> an array of 0 and 255, one a pixel. */
export function unpack(bits, count) {
  const alpha = new Uint8ClampedArray(count);
  for (let i = 0; i < count; i++) alpha[i] = (bits[i >> 3] >> (7 - (i & 7))) & 1 ? 255 : 0;
  return alpha;
}

/** Packed bits -> pixels, black and opaque where the bit is 1. */
export function maskPixels(bits, image) {
  unpack(bits, image.width * image.height).forEach((alpha, i) => {
    image.data[4 * i + 3] = alpha;
  });
  return image;
}

export function boxBetween([ax, ay], [bx, by]) {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)]
    .map((v) => round(clamp(v)));
}

/** A new mark of a tool at a point; `width` of the brush as a fraction. */
export function startMark(tool, point, width, crop) {
  const box = boxBetween(point, point);
  if (tool === "box") return { kind: crop ? "frame" : "box", box };
  if (tool === "lasso") return { kind: "lasso", points: [point] };
  return { kind: tool, points: [point], width };
}

/** The mark, drawn on to a point; `from` is where it began. */
export function extendMark(mark, from, point) {
  if (mark.box) mark.box = boxBetween(from, point);
  else mark.points.push(point);
}

/** Whether Python could draw it: a lasso needs an inside, a box two sides. */
export function isWhole(mark, [width, height]) {
  if (mark.kind === "lasso") return mark.points.length > 2;
  if (!mark.box) return true;
  const [x0, y0, x1, y1] = mark.box;
  return (x1 - x0) * width >= 0.5 && (y1 - y0) * height >= 0.5;
}

export function trace(c, points, width, height) {
  c.beginPath();
  for (const [x, y] of points) c.lineTo(x * width, y * height);
}

function stroke(c, mark, width, height) {
  const [x, y] = mark.points.at(-1);
  c.lineWidth = mark.width * Math.min(width, height);
  c.lineCap = c.lineJoin = "round";
  trace(c, [...mark.points, [x + 1e-4, y]], width, height); // a dot is a short line
  c.stroke();
}

/** Draw a mark on a mask.  "grow" waits for Python: a canvas has nothing like it. */
export function drawMark(c, mark) {
  const { width, height } = c.canvas;
  c.save();
  if (mark.kind === "clear" || mark.kind === "frame") c.clearRect(0, 0, width, height);
  if (mark.kind === "eraser") c.globalCompositeOperation = "destination-out";
  if (mark.kind === "invert") {
    c.globalCompositeOperation = "xor";
    c.fillRect(0, 0, width, height);
  } else if (mark.box) {
    const [x0, y0, x1, y1] = mark.box;
    c.fillRect(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height);
  } else if (mark.kind === "lasso") {
    trace(c, mark.points, width, height);
    c.fill();
  } else if (mark.points) stroke(c, mark, width, height);
  c.restore();
}
