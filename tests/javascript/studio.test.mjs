// The pure parts of the Studio's JavaScript: `node --test tests/javascript`.

import assert from "node:assert/strict";
import { test } from "node:test";

const at = new URL("../../pbe_lite/studio/static/", import.meta.url);
const load = (name) => import(new URL(name, at));
const { boxBetween, extendMark, isWhole, startMark, unpack } = await load("marks.js");
const { command } = await load("tools.js");
const { firstPicture, pieces, shrunk } = await load("transfer.js");
const view = await load("viewport.js");

test("bits are unpacked from the top, row after row", () => {
  assert.deepEqual([...unpack(new Uint8Array([0b10100000, 0b01000000]), 10)],
    [255, 0, 255, 0, 0, 0, 0, 0, 0, 255]);
});

test("a box is the same from any of its corners, and cut to the picture", () => {
  assert.deepEqual(boxBetween([0.8, 0.2], [0.1, 0.9]), [0.1, 0.2, 0.8, 0.9]);
  assert.deepEqual(boxBetween([-1, 0.5], [2, 0.7]), [0, 0.5, 1, 0.7]);
});

test("marks grow from where they began, and only whole ones are told", () => {
  const size = [100, 100];
  const box = startMark("box", [0.5, 0.5], 0.1, false);
  assert.equal(isWhole(box, size), false);
  extendMark(box, [0.5, 0.5], [0.2, 0.7]);
  assert.deepEqual(box, { kind: "box", box: [0.2, 0.5, 0.5, 0.7] });
  assert.ok(isWhole(box, size));
  const lasso = startMark("lasso", [0, 0], 0.1, false);
  extendMark(lasso, [0, 0], [1, 0]);
  assert.equal(isWhole(lasso, size), false);
  extendMark(lasso, [0, 0], [1, 1]);
  assert.ok(isWhole(lasso, size));
  assert.equal(startMark("box", [0, 0], 0.1, true).kind, "frame");
  assert.deepEqual(startMark("eraser", [0, 0], 0.1, false),
    { kind: "eraser", points: [[0, 0]], width: 0.1 });
});

test("keys: redo has two, letters choose tools, others are left to the page", () => {
  const key = (k, more = {}) => command({ key: k, ...more });
  assert.equal(key("Z", { ctrlKey: true, shiftKey: true }).do, "redo");
  assert.equal(key("y", { metaKey: true }).do, "redo");
  assert.equal(key("z", { ctrlKey: true }).do, "undo");
  assert.deepEqual(key("e"), { do: "choose", tool: "eraser" });
  assert.ok(key("]").by > 1 && key("[").by < 1);
  assert.ok(key("G", { shiftKey: true }).by < 0);
  for (const other of [key("Tab"), key("s", { ctrlKey: true }), key("b", { altKey: true })])
    assert.equal(other, null);
});

test("a picture fits into its frame whichever side is the longer", () => {
  assert.deepEqual(view.fitted([100, 50], [400, 400]), [400, 200]);
  assert.deepEqual(view.fitted([50, 100], [400, 300]), [150, 300]);
});

test("a point that is zoomed at stays where it is", () => {
  const [sheet, frame] = [[400, 400], [400, 400]];
  const from = view.firstView(sheet, frame);
  assert.deepEqual(from, { scale: 1, x: 0, y: 0 });
  const to = view.zoomed(from, 2, [100, 300], sheet, frame);
  assert.deepEqual(to, { scale: 2, x: -100, y: -300 });
  assert.equal((100 - to.x) / to.scale, 100);
  assert.deepEqual(view.zoomed(to, 0.01, [7, 7], sheet, frame), from);
  assert.equal(view.zoomed(to, 1e9, [7, 7], sheet, frame).scale, view.CLOSEST);
});

test("the picture cannot be moved out of its frame", () => {
  const [sheet, frame] = [[400, 200], [400, 300]];
  assert.deepEqual(view.panned({ scale: 2, x: 0, y: 0 }, [50, -999], sheet, frame),
    { scale: 2, x: 0, y: -100 });
  assert.equal(view.panned({ scale: 1, x: 0, y: 0 }, [0, 9], sheet, frame).y, 50);
});

test("a very narrow picture starts so large that one can draw on it", () => {
  const first = view.firstView([500, 5], [500, 96]);
  assert.ok(first.scale * 5 >= 64 && first.x === 0);
});

test("two fingers zoom about their middle and move", () => {
  const { factor, at: middle, by } = view.pinch([[0, 0], [10, 0]], [[0, 0], [30, 0]]);
  assert.deepEqual([factor, middle, by], [3, [15, 0], [10, 0]]);
});

test("pieces of a file lie end to end and an empty file has one", () => {
  assert.deepEqual(pieces(5, 2), [[0, 2], [2, 4], [4, 5]]);
  assert.deepEqual(pieces(4, 2), [[0, 2], [2, 4]]);
  assert.deepEqual(pieces(0, 2), [[0, 0]]);
  assert.ok(pieces(24e6).every(([from, to]) => to - from < 10e6));
});

test("pictures are shrunk and never grown", () => {
  assert.deepEqual(shrunk(6000, 4000), [1024, 683]);
  assert.deepEqual(shrunk(300, 200), [300, 200]);
  assert.deepEqual(shrunk(40000, 4), [1024, 1]);
});

test("of dropped files the first picture counts", () => {
  const files = [{ type: "text/plain" }, { type: "image/png" }, { type: "image/jpeg" }];
  assert.equal(firstPicture(files), files[1]);
  assert.equal(firstPicture(files.slice(0, 1)), null);
  assert.equal(firstPicture(undefined), null);
});
