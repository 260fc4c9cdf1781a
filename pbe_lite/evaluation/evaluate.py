"""The miniature benchmark: a table of metrics over the 400 pairs of `benchmark.py`.

    python -m pbe_lite evaluate --arm final --pairs 400 --json out.json
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.mixture import GaussianMixture
from tqdm.auto import tqdm

from pbe_lite import crop_and_paste
from pbe_lite.config import RESULTS, WEIGHTS
from pbe_lite.data.images import squash, to_bytes, to_clip, to_signed
from pbe_lite.data.tabletop import FIRST_TRAINING_SEED, Scene, object_names
from pbe_lite.evaluation import metrics
from pbe_lite.evaluation.baselines import blended_diffusion, load_prior, poisson_blend
from pbe_lite.evaluation.benchmark import PAIRS, SPLITS, make_pair
from pbe_lite.models.clip import embed, load_clip, text_features

GALLERY_SEEDS = range(500, 508)  # neither in a pair nor in training
REFERENCES = 1000  # real scenes a split that CLIP-FID and QS compare with
BASELINES = ("poisson", "text_inpainting", "blended_text", "blended_image")
METRICS = ("leak", "right_object", "clip_score", "clip_fid", "qs", "seam", "light",
           "background_psnr", "background_psnr_raw")


def paint_pairs(pipe, pairs, guidance_scale=None, steps=None, batch_size=25, seed=0):
    """The model's answers: (raw, pasted), two lists of (S, S, 3) uint8."""
    size = pipe.image_encoder.config.image_size

    def paint(batch, images, holes, seeds):
        exemplars = torch.stack([to_clip(squash(p.exemplar, size)) for p in batch])
        return pipe.paint(exemplars, images, holes, pipe.noise(seeds), steps,
                          guidance_scale)

    return _in_batches(paint, pairs, batch_size, seed)


def paint_baseline(name, pairs, steps=25, batch_size=25, seed=0, weights=WEIGHTS):
    """The answers of one of `BASELINES`, as `paint_pairs` gives them; names and exemplars
    are the pairs'.  Raises ValueError for another name."""
    if name not in BASELINES:
        raise ValueError(f"name must be one of {BASELINES}, got {name!r}")
    if name == "poisson":
        results = [poisson_blend(p.source.image, p.hole, p.exemplar)
                   for p in tqdm(pairs, desc="blending", unit="pair")]
        return results, results
    prior = load_prior(weights)
    shape = (prior.unet.config.in_channels,) + (prior.unet.config.sample_size,) * 2

    def paint(batch, images, holes, seeds):
        names, target, scale = [p.name for p in batch], None, 3.0
        if name != "text_inpainting":
            with torch.no_grad():
                target = embed(prior.clip, [p.exemplar for p in batch]) if \
                    name == "blended_image" else \
                    text_features(prior.clip, prior.tokenizer, names)
            names, scale = [""] * len(batch), 1.0
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s))
                             for s in seeds])
        return blended_diffusion(prior, images, holes, names, noise, scale, steps, target)

    return _in_batches(paint, pairs, batch_size, seed)


def _in_batches(paint, pairs, batch_size, seed):
    """Answers of paint(batch, images, holes, seeds), raw and pasted."""
    raw = []
    for start in tqdm(range(0, len(pairs), batch_size), desc="painting", unit="batch"):
        batch = pairs[start:start + batch_size]
        raw += list(to_bytes(paint(
            batch, torch.stack([to_signed(p.source.image) for p in batch]),
            torch.stack([torch.from_numpy(p.hole)[None] for p in batch]),
            range(seed + start, seed + start + len(batch)))))
    return raw, [
        crop_and_paste.paste(p.source.image, r, p.hole,
                             crop_and_paste.Window(0, 0, len(r)))
        for p, r in zip(pairs, raw, strict=True)]


@lru_cache
def galleries():
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


@lru_cache
def reference(split):
    """(N, D) features of real scenes, and what QS needs: a mixture of 20 Gaussians fitted
    to them, and their mean log-likelihood under it."""
    names = object_names("held_out" if split == "held_out" else "train")
    scenes = []
    for i in range(REFERENCES):
        name = str(np.random.default_rng([12, i]).choice(names))
        scenes.append(Scene(FIRST_TRAINING_SEED + i).with_object(name).render(128).image)
    features = picture_features(scenes)
    mixture = GaussianMixture(20, covariance_type="diag", random_state=0)
    mixture.fit(features.numpy())
    return features, mixture, mixture.score(features.numpy())


def picture_features(results):
    """(N, D) CLIP features of whole pictures (S, S, 3) uint8, which CLIP-FID and QS are
    about, as they are in the authors' evaluation: a hole's box alone hides its frame."""
    return embed(load_clip()[0], map(Image.fromarray, results))


def box_features(pairs, results):
    """(N, D) CLIP features of what stands in the pairs' boxes."""
    return embed(load_clip()[0], map(Image.fromarray, results), [p.box for p in pairs])


def score(pairs, raw, results, features=None):
    """Per-pair values of every metric but CLIP-FID and QS: {metric: array (N,)};
    features: those of `box_features`, where they are known already."""
    features = box_features(pairs, results) if features is None else features
    exemplars = embed(load_clip()[0], [p.exemplar for p in pairs])
    right = []
    for feature, pair in zip(features, pairs, strict=True):
        names, gallery = galleries()[pair.split]
        right.append(names[int((gallery @ feature).argmax())] == pair.name)
    truth_seam = np.nanmean([metrics.border_gradient(p.answer, p.hole) for p in pairs])
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
            asked, *answers = ([v[i] for i in chosen] for v in (pairs, raw, results))
            features = picture_features(answers[1])
            real, mixture, likely = reference(split)
            values = score(asked, *answers)
            values["qs"] = 100 * mixture.score_samples(features.numpy()) / likely
            fid = metrics.bootstrap_fid(features, real)
            table["rows"][row][split] = {
                m: fid if m == "clip_fid" else _summary(values[m]) for m in METRICS}
    return table


def evaluate(pipe, arm, pairs=PAIRS, guidance_scale=None, steps=None, seed=0):
    """Run the benchmark on the first `pairs` pairs (even: seen, odd: held out).

    Raises ValueError for more pairs than there are, or none."""
    if not 1 <= pairs <= PAIRS:
        raise ValueError(f"pairs must be from 1 to {PAIRS}, got {pairs}")
    guidance_scale, steps = pipe.defaults(guidance_scale, steps or None)
    questions = [make_pair(i, pipe.resolution) for i in
                 tqdm(range(pairs), desc="rendering pairs", unit="pair")]
    pasted, truth = [p.pasted for p in questions], [p.answer for p in questions]
    rows = {"copy_paste": (pasted, pasted), "ground_truth": (truth, truth),
            arm: paint_pairs(pipe, questions, guidance_scale, steps, seed=seed)}
    return {**evaluate_rows(rows, questions), "guidance_scale": guidance_scale,
            "steps": steps, "seed": seed}


def format_table(table, columns=METRICS, only=("seen", "held_out")):
    """The JSON as a Markdown table, a line a row and split, with 95 % intervals."""
    lines = [["row", "pairs", *columns], ["---"] * (2 + len(columns))]
    for row, splits in table["rows"].items():
        for split in filter(splits.get, only):
            cells = ["identical" if v.get("exact") else "-" if v["mean"] is None else
                     f"{v['mean']:.2f} [{v['low']:.2f}, {v['high']:.2f}]"
                     for v in map(splits[split].get, columns)]
            lines.append([row, split, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_json(table, path):
    """Write the benchmark's dict; parents are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(table, indent=1) + "\n")


def read_results(name):
    """A benchmark's dict from `data/results`, written by `write_json`.

    Raises FileNotFoundError, naming those that are there."""
    folder = RESULTS
    path = folder / f"{name}.json"
    if not path.exists():
        there = ", ".join(sorted(p.stem for p in folder.glob("*.json")))
        raise FileNotFoundError(f"no results {name!r} in {folder}, only: {there}")
    return json.loads(path.read_text())
