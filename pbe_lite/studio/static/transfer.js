// A file to Python, in pieces: a Jupyter server drops messages of more than 10 MB.
//
// Messages sent: {do: "glance", id, name} with a small copy of a long file's picture,
// then {do: "piece", id, name, last} for each piece; or {do: "refuse", name, why}.

export const PIECE = 2 ** 21;
const LONG = 2 ** 20; // bytes from which on a small copy goes ahead
const GLANCE = 1024; // pixels of that copy
const MOST = 200e6;

/** [from, to] of each piece of a file of `size` bytes; an empty file has one. */
export function pieces(size, piece = PIECE) {
  const starts = Array.from({ length: Math.max(1, Math.ceil(size / piece)) },
    (_, i) => i * piece);
  return starts.map((from) => [from, Math.min(size, from + piece)]);
}

/** [width, height] with the longer side at most `longest`. */
export function shrunk(width, height, longest = GLANCE) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return [width, height].map((v) => Math.max(1, Math.round(v * scale)));
}

/** The first picture among dropped or pasted files, or null. */
export function firstPicture(files) {
  return [...(files ?? [])].find((file) => file.type.startsWith("image/")) ?? null;
}

/** A JPEG of a file's picture, shrunk by the browser; null where it cannot read it. */
async function glance(file) {
  try {
    const full = await createImageBitmap(file); // upright, as the camera was held
    const [width, height] = shrunk(full.width, full.height);
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(full, 0, 0, width, height);
    full.close();
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
    return await blob.arrayBuffer();
  } catch {
    return null;
  }
}

/** Send a file; progress(share) is called after each piece. */
export async function sendFile(model, file, { glances, progress }) {
  const name = file.name || "picture.png";
  const id = `${name}:${Math.random().toString(36).slice(2)}`;
  if (file.size > MOST) {
    model.send({ do: "refuse", name, why: `larger than ${MOST / 1e6} MB` });
    return;
  }
  if (glances && file.size > LONG) {
    const small = await glance(file);
    if (small) model.send({ do: "glance", id, name }, undefined, [small]);
  }
  for (const [from, to] of pieces(file.size)) {
    const part = await file.slice(from, to).arrayBuffer();
    model.send({ do: "piece", id, name, last: to === file.size }, undefined, [part]);
    progress(file.size ? to / file.size : 1);
  }
}
