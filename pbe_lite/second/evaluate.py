"""The benchmark of the second world: the answers of a model, or of a cheat, in numbers.

    python -m pbe_lite.second.evaluate --model data/second/final --json out.json
"""

import argparse
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from sklearn.mixture import GaussianMixture
from tqdm.auto import tqdm

from pbe_lite.config import DATA
from pbe_lite.crop_and_paste import Window, paste
from pbe_lite.data.triplets import to_signed
from pbe_lite.evaluation import metrics
from pbe_lite.evaluation.evaluate import _summary, format_table, paint_pairs, write_json
from pbe_lite.models.autoencoder import PatchCodec
from pbe_lite.models.clip import embed, load_clip
from pbe_lite.pipeline import PaintByExamplePipeline, to_bytes
from pbe_lite.second.benchmark import PAIRS, SPLITS, make_pair
from pbe_lite.second.colours import hue_distance, mean_chroma
from pbe_lite.second.judge import Judge, grey_crop, window_around
from pbe_lite.second.tabletop import (
    FIRST_TRAINING_SEED,
    Scene,
    draw_hue,
    kind_names,
)

WEIGHTS = DATA / "second"
REFERENCES = 1000  # real scenes a split that CLIP-FID and QS compare with
CERTAIN = .5       # the least probability with which the judge names a kind
METRICS = ("right_kind", "right_colour", "leak", "clip_score", "clip_fid", "qs", "seam",
           "seam_hard", "light", "sharpness", "background_psnr")
CHEATS = ("copy_paste", "flat_patch", "ground_truth", "round_trip")


@lru_cache
def load_judge(folder=WEIGHTS / "judge"):
    """The trained judge in eval mode, float32."""
    return Judge.from_pretrained(folder, torch_dtype=torch.float32).eval()


@torch.no_grad()
def judge_names(pairs, results, judge=None):
    """(N, kinds + 1) probabilities of what stands in the hole: the mean of two views, of
    the pair's box and of what differs from the empty table."""
    judge = judge or load_judge()
    views = [(grey_crop(r, window_around(p.box, len(r), 1)),
              grey_crop(r, window_around(changed_box(p, r), len(r))))
             for p, r in zip(pairs, results, strict=True)]
    crops = torch.from_numpy(np.array(views))
    scores = judge(crops.flatten(0, 1)[:, None]).softmax(-1)
    return scores.unflatten(0, crops.shape[:2]).mean(1)


def changed_box(pair, result):
    """The box, in fractions, of what in the hole differs from the clean plate; outliers
    left out.  The pair's own box where nothing does."""
    changed = pair.hole & (metrics.distance(result, pair.source.clean) > 40)
    changed = ndimage.binary_opening(changed)
    if not changed.any():
        return pair.box
    ys, xs = np.nonzero(changed)
    x0, x1 = np.percentile(xs, (2, 98))
    y0, y1 = np.percentile(ys, (2, 98))
    size = len(result)
    return x0 / size, y0 / size, (x1 + 1) / size, (y1 + 1) / size


def right_kinds(pairs, results, judge=None, certain=CERTAIN):
    """(N,) 1 where the judge names the exemplar's kind with at least `certain`."""
    names = kind_names()
    best, which = judge_names(pairs, results, judge).max(-1)
    asked = torch.tensor([names.index(p.kind) for p in pairs])
    return ((which == asked) & (best >= certain)).double().numpy()


def right_colour(pair, result, tolerance=30, faint=.04):
    """1 where what stands in the hole has the hue of the right answer within `tolerance`
    degrees, half of the way to a neighbouring colourway; 0 for what is nearly grey."""
    place = pair.truth.alpha > .5
    wanted, _ = mean_chroma(pair.truth.image / 255, place.astype(float))
    changed = pair.hole & (metrics.distance(result, pair.source.clean) > 40)
    hue, chroma = mean_chroma(result / 255, changed.astype(float))
    return float(chroma > faint and hue_distance(hue, wanted) < tolerance)


def flat_patch(pair):
    """The exemplar's mean colour in the hole: a cheat without any shape."""
    colour = np.asarray(pair.exemplar).reshape(-1, 3).mean(0).round().astype(np.uint8)
    return np.where(pair.hole[..., None], colour, pair.source.image)


@torch.no_grad()
def round_trip(pairs, codec):
    """The right answers through the codec, (N, S, S, 3) uint8, raw."""
    return np.concatenate([to_bytes(codec(to_signed(p.truth.image)[None])) for p in pairs])


@lru_cache
def reference(split, weights=WEIGHTS):
    """(N, D) features of real scenes of a split, and what QS needs: a mixture of 20
    Gaussians fitted to them, and their mean log-likelihood under it."""
    names = kind_names("held_out" if split == "new_kind" else "train")
    scenes = []
    for i in range(REFERENCES):
        rng = np.random.default_rng([23, i])
        name = names[rng.integers(len(names))]
        hue = draw_hue(rng, name, unseen=split == "new_colourway")
        scenes.append(Scene(FIRST_TRAINING_SEED + i, name, hue).render(128).image)
    features = embed(load_clip(weights / "clip")[0], map(Image.fromarray, scenes))
    mixture = GaussianMixture(20, covariance_type="diag", random_state=0)
    mixture.fit(features.numpy())
    return features, mixture, mixture.score(features.numpy())


def sharpness(result, pair):
    """Mean size of the Laplacian over the hole, as a share of the right answer's."""
    edges = lambda image: np.abs(ndimage.laplace(image.astype(float).mean(-1)))[pair.hole]
    return float(edges(result).mean() / max(edges(pair.truth.image).mean(), 1e-6))


def pixel_metrics(pair, raw, result, truth_seam):
    """{metric: value} of those that need no network."""
    clean, image = pair.source.clean, pair.source.image
    pixels = metrics.leak_pixels(pair.pasted, pair.pasted_alpha, pair.truth.image, clean,
                                 pair.hole)
    hard = np.where(pair.hole[..., None], raw, image)
    return {
        "right_colour": right_colour(pair, result),
        "leak": metrics.leak(result, pair.pasted, clean, pixels),
        "seam": metrics.border_gradient(result, pair.hole) / truth_seam,
        "seam_hard": metrics.border_gradient(hard, pair.hole) / truth_seam,
        "light": metrics.light_error(result, pair.truth.image, pair.truth.alpha),
        "sharpness": sharpness(result, pair),
        "background_psnr": metrics.background_psnr(result, image, pair.hole),
    }


def score_split(pairs, raw, results, weights=WEIGHTS):
    """{metric: {"mean", "low", "high"}} over pairs of one split."""
    clip, judge = load_clip(weights / "clip")[0], load_judge(weights / "judge")
    truth_seam = np.nanmean([metrics.border_gradient(p.answer, p.hole) for p in pairs])
    rows = [pixel_metrics(p, a, b, truth_seam)
            for p, a, b in zip(pairs, raw, results, strict=True)]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    values["right_kind"] = right_kinds(pairs, results, judge)
    shown = embed(clip, map(Image.fromarray, results), [p.box for p in pairs])
    exemplars = embed(clip, [p.exemplar for p in pairs])
    values["clip_score"] = metrics.clip_score(shown, exemplars).numpy()
    whole = embed(clip, map(Image.fromarray, results))
    real, mixture, likely = reference(pairs[0].split, weights)
    values["qs"] = 100 * mixture.score_samples(whole.numpy()) / likely
    fid = metrics.bootstrap_fid(whole, real)
    return {m: fid if m == "clip_fid" else _summary(values[m]) for m in METRICS}


def score_row(pairs, raw, results, weights=WEIGHTS):
    """{split: {metric: ...}} of one row's answers."""
    table = {}
    for split in SPLITS:
        chosen = [i for i, p in enumerate(pairs) if p.split == split]
        if chosen:
            table[split] = score_split(*([v[i] for i in chosen]
                                         for v in (pairs, raw, results)), weights)
    return table


def cheat(name, pairs, weights=WEIGHTS):
    """(raw, results) of one of `CHEATS`."""
    if name == "round_trip":
        codec = PatchCodec.from_pretrained(weights / "codec", torch_dtype=torch.float32)
        raw = list(round_trip(pairs, codec.eval()))
        return raw, [paste(p.source.image, r, p.hole, Window(0, 0, len(r)))
                     for p, r in zip(pairs, raw, strict=True)]
    answers = {"copy_paste": lambda p: p.pasted, "flat_patch": flat_patch,
               "ground_truth": lambda p: p.answer}
    results = [answers[name](p) for p in pairs]
    return results, results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--guidance", type=float, nargs="*", default=[None])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--cheats", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    pairs = [make_pair(i) for i in tqdm(range(args.pairs), desc="rendering pairs")]
    rows = {name: cheat(name, pairs, args.weights) for name in CHEATS if args.cheats}
    if args.model:
        pipe = PaintByExamplePipeline.from_pretrained(args.model)
        pipe.set_progress_bar_config(disable=True)
        for g in args.guidance:
            rows[f"{args.model.name} {g or ''}"] = paint_pairs(pipe, pairs, g, args.steps)
    table = {"rows": {name: score_row(pairs, *answers, args.weights)
                      for name, answers in rows.items()}}
    print(format_table(table, METRICS, SPLITS))
    if args.json:
        write_json(table, args.json)


if __name__ == "__main__":
    main()
