// Which part of the picture is seen.  A view is {scale, x, y}: a sheet as large as the
// picture in its frame, drawn `scale` times as large and moved by (x, y) pixels.

export const CLOSEST = 16;
const VISIBLE = 64; // pixels that a very narrow picture gets at least on its shorter side

/** The size of a picture [w, h] that just fits into a frame [w, h]. */
export function fitted([width, height], [wide, high]) {
  const scale = Math.min(wide / width, high / height);
  return [width * scale, height * scale];
}

/** The whole sheet, in the middle; a very narrow one is drawn larger, from its start. */
export function firstView(sheet, frame) {
  const scale = Math.min(CLOSEST, Math.max(1, VISIBLE / Math.min(...sheet)));
  return inside({ scale, x: 0, y: 0 }, sheet, frame);
}

/** The view, moved so that no side of the frame stays empty that the sheet could fill. */
export function inside({ scale, x, y }, sheet, frame) {
  const place = (value, i) => {
    const room = frame[i] - scale * sheet[i];
    return room > 0 ? room / 2 : Math.min(0, Math.max(room, value));
  };
  return { scale, x: place(x, 0), y: place(y, 1) };
}

/** Closer by `factor`; the point [x, y] of the frame stays where it is. */
export function zoomed(view, factor, [px, py], sheet, frame) {
  const scale = Math.min(CLOSEST, Math.max(1, view.scale * factor));
  const by = scale / view.scale;
  return inside({ scale, x: px - by * (px - view.x), y: py - by * (py - view.y) },
    sheet, frame);
}

export function panned({ scale, x, y }, [dx, dy], sheet, frame) {
  return inside({ scale, x: x + dx, y: y + dy }, sheet, frame);
}

/** Two fingers from points a, b to c, d: how much closer, about where, moved how far. */
export function pinch([a, b], [c, d]) {
  const middle = (p, q) => [(p[0] + q[0]) / 2, (p[1] + q[1]) / 2];
  const length = (p, q) => Math.max(1, Math.hypot(p[0] - q[0], p[1] - q[1]));
  const [from, to] = [middle(a, b), middle(c, d)];
  return { factor: length(c, d) / length(a, b), at: to,
    by: [to[0] - from[0], to[1] - from[1]] };
}
