"""The miniature benchmark: 400 fixed pairs whose right answer is known.

    python -m pbe_lite evaluate --arm final --pairs 400 --json out.json

A pair is a scene never trained on, a hole around its object, and an exemplar cropped,
background and all, from another such scene with another light.  200 exemplars are of
objects seen in training, 200 of the 40 held out.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from pbe_lite import canvas, metrics
from pbe_lite.augment import squash
from pbe_lite.baselines import copy_paste
from pbe_lite.clip import embed, load_clip, text_features
from pbe_lite.masks import box_mask
from pbe_lite.pipeline import to_bytes
from pbe_lite.tabletop import HELD_OUT_SEEDS, Render, Scene, object_names
from pbe_lite.triplets import crop_box, to_clip, to_signed

PAIRS = 400
GALLERY_SEEDS = range(500, 508)  # neither in a pair nor in training
SPLITS = ("seen", "held_out")
METRICS = ("leak", "right_object", "clip_score", "seam", "light", "background_psnr",
           "background_psnr_raw")


class Pair(NamedTuple):
    """One question of the benchmark and its answer; see the module's docstring."""

    split: str
    name: str
    source: Render
    truth: Render
    hole: np.ndarray
    box: tuple
    exemplar: Image.Image
    pasted: np.ndarray
    pasted_alpha: np.ndarray


def split_of(index):
    """"seen" for even pairs, "held_out" for odd ones."""
    return SPLITS[index % 2]


def make_pair(index, size=128, grow=.1):
    """Pair `index` of the benchmark at `size` pixels; a pure function of both.

    `box` holds the old object and the right answer, grown by `grow` of its sides; the
    hole holds `box` and the shadows of both, as far as they darken by 8 levels.
    Raises ValueError for an index outside the 400."""
    if not 0 <= index < PAIRS:
        raise ValueError(f"index must be from 0 to {PAIRS - 1}, got {index}")
    rng = np.random.default_rng([11, index])
    source, split = Scene(HELD_OUT_SEEDS[index]), split_of(index)
    if split == "seen":
        name = str(rng.choice([n for n in object_names("train") if n != source.name]))
    else:
        name = object_names("held_out")[index // 2 % len(object_names("held_out"))]
    truth, before = source.with_object(name).render(size), source.render(size)
    other = HELD_OUT_SEEDS[(index + 250) % len(HELD_OUT_SEEDS)]
    shown = Scene(other).with_object(name).render(size)
    box = _around((before.box, truth.box), grow)
    hole = box_mask(_around((box, _changed(before), _changed(truth))), size) > 0
    exemplar = crop_box(Image.fromarray(shown.image), shown.box)
    alpha = crop_box(Image.fromarray((255 * shown.alpha).astype(np.uint8)), shown.box)
    pasted_alpha = copy_paste(np.zeros_like(before.image), hole, alpha)[..., 0] / 255
    return Pair(split, name, before, truth, hole, box, exemplar,
                copy_paste(before.image, hole, exemplar), pasted_alpha)


def _around(boxes, grow=0):
    """The box around boxes, each side moved outwards by `grow` of its length."""
    low, high = np.min(boxes, 0)[:2], np.max(boxes, 0)[2:]
    margin = grow * (high - low)
    return (*np.maximum(low - margin, 0), *np.minimum(high + margin, 1))


def _changed(render):
    """The box around everything that the object and its shadow change by 8 levels."""
    changed = metrics.distance(render.image, render.clean) > 8
    return tuple(np.divide(canvas.hole_box(changed), len(changed)))


def paint_pairs(pipe, pairs, guidance_scale=None, steps=None, batch_size=25, seed=0):
    """The model's answers: (raw, pasted), two lists of (S, S, 3) uint8."""
    raw = []
    size = pipe.image_encoder.config.image_size
    for start in tqdm(range(0, len(pairs), batch_size), desc="painting", unit="batch"):
        batch = pairs[start:start + batch_size]
        painted = pipe.paint(
            torch.stack([to_signed(p.source.image) for p in batch]),
            torch.stack([torch.from_numpy(p.hole)[None] for p in batch]),
            torch.stack([to_clip(squash(p.exemplar, size)) for p in batch]),
            pipe.noise(range(seed + start, seed + start + len(batch))),
            guidance_scale, steps)
        raw += list(to_bytes(painted))
    whole = canvas.Window(0, 0, pipe.resolution)
    return raw, [canvas.paste(p.source.image, r, p.hole, whole)
                 for p, r in zip(pairs, raw, strict=True)]


@lru_cache
def _galleries():
    """Per split: object names and their (N, D) features - captions for seen objects,
    the mean over 8 crops for held-out ones, which no caption was ever trained on."""
    model, tokenizer = load_clip()
    names, held_out = object_names(), object_names("held_out")
    with torch.no_grad():
        texts = text_features(model, tokenizer, names)
    crops = []
    for name in held_out:
        renders = [Scene(s).with_object(name).render(128) for s in GALLERY_SEEDS]
        features = embed(model, [Image.fromarray(r.image) for r in renders],
                         [r.box for r in renders])
        crops.append(torch.nn.functional.normalize(features.mean(0), dim=0))
    return {"seen": (names, texts), "held_out": (held_out, torch.stack(crops))}


def score(pairs, raw, results):
    """Per-pair values of every metric: {metric: array (N,)}."""
    model, _ = load_clip()
    features = embed(model, map(Image.fromarray, results), [p.box for p in pairs])
    exemplars = embed(model, [p.exemplar for p in pairs])
    right = []
    for feature, pair in zip(features, pairs, strict=True):
        names, gallery = _galleries()[pair.split]
        right.append(names[int((gallery @ feature).argmax())] == pair.name)
    truth_seam = np.nanmean([metrics.border_gradient(_truth(p), p.hole) for p in pairs])
    rows = zip(pairs, raw, results, strict=True)
    values = [_pixel_metrics(p, r, a, truth_seam) for p, r, a in rows]
    table = {name: np.array([v[name] for v in values]) for name in values[0]}
    table["right_object"] = np.array(right, float)
    table["clip_score"] = metrics.clip_score(features, exemplars).numpy()
    return table


def _pixel_metrics(pair, raw, result, truth_seam):
    clean, image = pair.source.clean, pair.source.image
    pixels = metrics.leak_pixels(pair.pasted, pair.pasted_alpha, pair.truth.image, clean,
                                 pair.hole)
    return {
        "leak": metrics.leak(result, pair.pasted, clean, pixels),
        "seam": metrics.border_gradient(result, pair.hole) / truth_seam,
        "light": metrics.light_error(result, pair.truth.image, pair.truth.alpha),
        "background_psnr": metrics.background_psnr(result, image, pair.hole),
        "background_psnr_raw": metrics.background_psnr(raw, image, pair.hole),
    }


def _summary(values):
    """{"mean", "low", "high"}; an unbounded PSNR is null, with "exact": true."""
    if np.isinf(values).all():
        return {"mean": None, "low": None, "high": None, "exact": True}
    return metrics.bootstrap(np.where(np.isinf(values), np.nan, values))


def evaluate_rows(rows, pairs):
    """{row: (raw, results)} -> the benchmark's JSON as a dict."""
    table = {"pairs": len(pairs), "rows": {}}
    for row, (raw, results) in rows.items():
        table["rows"][row] = {}
        for split in SPLITS:
            chosen = [i for i, p in enumerate(pairs) if p.split == split]
            if not chosen:
                continue
            pick = lambda items, chosen=chosen: [items[i] for i in chosen]
            values = score(pick(pairs), pick(raw), pick(results))
            table["rows"][row][split] = {m: _summary(values[m]) for m in METRICS}
    return table


def evaluate(pipe, arm, pairs=PAIRS, guidance_scale=None, steps=None, seed=0):
    """Run the benchmark on the first `pairs` pairs (even: seen, odd: held out).

    Raises ValueError for more pairs than there are, or none."""
    if not 1 <= pairs <= PAIRS:
        raise ValueError(f"pairs must be from 1 to {PAIRS}, got {pairs}")
    if guidance_scale is None:
        guidance_scale = pipe.config.guidance_scale
    steps = steps or pipe.config.steps
    questions = [make_pair(i, pipe.resolution) for i in
                 tqdm(range(pairs), desc="rendering pairs", unit="pair")]
    pasted, truth = [p.pasted for p in questions], [_truth(p) for p in questions]
    rows = {"copy_paste": (pasted, pasted), "ground_truth": (truth, truth),
            arm: paint_pairs(pipe, questions, guidance_scale, steps, seed=seed)}
    return {**evaluate_rows(rows, questions), "guidance_scale": guidance_scale,
            "steps": steps, "seed": seed}


def _truth(pair):
    """The right answer inside the hole, the source outside."""
    return np.where(pair.hole[..., None], pair.truth.image, pair.source.image)


def format_table(table):
    """The JSON as a Markdown table, a line a row and split, with 95 % intervals."""
    lines = [["row", "pairs", *METRICS], ["---"] * (2 + len(METRICS))]
    for row, splits in table["rows"].items():
        for split, values in splits.items():
            cells = ["identical" if v.get("exact") else "-" if v["mean"] is None else
                     f"{v['mean']:.2f} [{v['low']:.2f}, {v['high']:.2f}]"
                     for v in values.values()]
            lines.append([row, split, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_json(table, path):
    """Write the benchmark's dict; parents are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(table, indent=1) + "\n")
