"""The miniature benchmark: answers to the 400 pairs of `benchmark`, in numbers.

    python -m pbe_lite evaluate --arm final --pairs 400 --json out.json
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from sklearn.mixture import GaussianMixture
from tqdm.auto import tqdm

from pbe_lite.config import RESULTS, WEIGHTS
from pbe_lite.data.colours import hue_distance, mean_chroma
from pbe_lite.data.tabletop import FIRST_TRAINING_SEED, Scene, draw_hue, kind_names
from pbe_lite.evaluation import metrics
from pbe_lite.evaluation.benchmark import PAIRS, SPLITS, make_pair
from pbe_lite.evaluation.judge import grey_crop, load_judge, window_around
from pbe_lite.evaluation.painting import CHEATS, cheat, paint_pairs
from pbe_lite.models.clip import embed, load_clip

REFERENCES = 1000  # real scenes a split that CLIP-FID and QS compare with
CERTAIN = .3       # the least probability with which the judge names a kind: where it
                   # agrees best with a person, on results of weak and strong models
CHANGED = 40       # 8-bit levels by which what stands in the hole differs from the plate
METRICS = ("right_kind", "right_colour", "leak", "clip_score", "clip_fid", "qs", "seam",
           "seam_hard", "light", "sharpness", "background_psnr")


@torch.no_grad()
def judge_names(pairs, results, judge=None):
    """(N, kinds + 1) probabilities of what stands in the hole: the mean of two views, of
    the pair's box and of what differs from the clean plate."""
    judge = judge or load_judge()
    views = [(grey_crop(r, window_around(p.box, len(r), 1)),
              grey_crop(r, window_around(changed_box(p, r), len(r))))
             for p, r in zip(pairs, results, strict=True)]
    crops = torch.from_numpy(np.array(views))
    scores = judge(crops.flatten(0, 1)[:, None]).softmax(-1)
    return scores.unflatten(0, crops.shape[:2]).mean(1)


def changed_pixels(pair, result):
    """(S, S) bool: what in the hole differs from the clean plate, so what stands there."""
    return pair.hole & (metrics.distance(result, pair.source.clean) > CHANGED)


def changed_box(pair, result):
    """The box, in fractions, of `changed_pixels`, outliers left out.  The pair's own box
    where there are none."""
    changed = ndimage.binary_opening(changed_pixels(pair, result))
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
    degrees; 0 for what is nearly grey."""
    place = pair.truth.alpha > .5
    wanted, _ = mean_chroma(pair.truth.image / 255, place.astype(float))
    hue, chroma = mean_chroma(result / 255, changed_pixels(pair, result).astype(float))
    return float(chroma > faint and hue_distance(hue, wanted) < tolerance)


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


def _summary(values):
    """{"mean", "low", "high"}; an unbounded PSNR is null, with "exact": true."""
    if np.isinf(values).all():
        return {"mean": None, "low": None, "high": None, "exact": True}
    return metrics.bootstrap(np.where(np.isinf(values), np.nan, values))


def evaluate(pipe, arm, pairs=PAIRS, guidance_scale=None, steps=None, seed=0,
             weights=WEIGHTS):
    """Run the benchmark on its first `pairs` pairs: a row for the arm, one for each cheat.

    weights: where the codec, the CLIP and the judge lie.  Raises ValueError for more pairs
    than there are, or none, and OSError where one of those is missing."""
    if not 1 <= pairs <= PAIRS:
        raise ValueError(f"pairs must be from 1 to {PAIRS}, got {pairs}")
    guidance_scale, steps = pipe.defaults(guidance_scale, steps or None)
    questions = [make_pair(i, pipe.resolution) for i in
                 tqdm(range(pairs), desc="rendering pairs", unit="pair")]
    scores = {name: score_row(questions, *cheat(name, questions, weights), weights)
              for name in CHEATS}  # first: what is missing is told before it is painted
    answers = paint_pairs(pipe, questions, guidance_scale, steps, seed=seed)
    scores[arm] = score_row(questions, *answers, weights)
    return {"pairs": pairs, "rows": scores, "guidance_scale": guidance_scale,
            "steps": steps, "seed": seed}


def format_table(table, columns=METRICS, only=SPLITS):
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
