"""The metrics of the miniature benchmark, one number a pair; see data/README.md.

Pictures are (S, S, 3) uint8, `hole` is (S, S) bool.  Each metric has a baseline that
fools it, so no table stands without its copy-paste and ground-truth rows.
"""

import numpy as np
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

DIFFERENT = 20.0  # 8-bit levels, root mean square over RGB


def distance(a, b):
    """RMS over RGB of the difference, (S, S), in 8-bit levels."""
    return np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2, -1))


def leak_pixels(pasted, pasted_alpha, truth, clean, hole):
    """Where a leak could show: hole pixels whose right answer is the clean plate, on
    which copy-paste shows the exemplar's own background, and the two differ."""
    background = hole & (pasted_alpha < .02) & (distance(truth, clean) < 4)
    return background & (distance(pasted, clean) > DIFFERENT)


def leak(result, pasted, clean, pixels):
    """Share of `pixels` nearer to the pasted exemplar than to the clean plate, 0..1;
    NaN where there is no such pixel.  1 = copy-paste."""
    if not pixels.any():
        return np.nan
    nearer = distance(result, pasted) < distance(result, clean)
    return float(nearer[pixels].mean())


def border_gradient(image, hole):
    """Mean absolute step across the hole's border, in 8-bit levels; NaN without one."""
    image = image.astype(float)
    across, down = hole[:, 1:] != hole[:, :-1], hole[1:] != hole[:-1]
    steps = np.concatenate([np.abs(image[:, 1:] - image[:, :-1])[across],
                            np.abs(image[1:] - image[:-1])[down]])
    return float(steps.mean()) if len(steps) else np.nan


def light_error(result, truth, alpha):
    """Distance between the mean colours of the object's place (alpha > .9), in 8-bit
    levels: how far the object is from what this scene's light makes of it."""
    place = alpha > .9
    return float(np.linalg.norm(result[place].mean(0) - truth[place].mean(0)))


def background_psnr(result, image, hole):
    """PSNR in dB outside the hole; infinite when those pixels are identical."""
    error = np.mean((result[~hole].astype(float) - image[~hole].astype(float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255 ** 2 / error))


def clip_score(result_features, exemplar_features):
    """100 cos between CLIP features (B, D), unit vectors, as the paper defines it."""
    return 100 * (result_features * exemplar_features).sum(-1)


def bootstrap(values, seed=0, draws=2000):
    """Mean over pairs with a 95 % interval: {"mean", "low", "high"}; NaNs are left out,
    and where nothing is left all three are None."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return dict.fromkeys(("mean", "low", "high"))
    index = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    low, high = np.percentile(values[index].mean(1), (2.5, 97.5))
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


class _Features(torch.nn.Module):
    """torchmetrics asks for a network; ours has already run."""

    def __init__(self, width):
        super().__init__()
        self.num_features = width

    def forward(self, features):
        return features


def clip_fid(features, reference):
    """100 x the Frechet distance between Gaussians fitted to two sets of CLIP features,
    (N, D) and (M, D) unit vectors: what the paper calls FID.  Both need two rows."""
    fid = FrechetInceptionDistance(_Features(reference.shape[1]))
    fid.update(reference, real=True)
    fid.update(features, real=False)
    return 100 * float(fid.compute())


def bootstrap_fid(features, reference, seed=0, draws=200):
    """CLIP-FID with a 95 % interval over the rows of `features`.

    A redrawn set repeats rows and so looks farther from the reference than it is: the
    interval is moved by the mean of that excess.  None for fewer than two rows."""
    if len(features) < 2:
        return dict.fromkeys(("mean", "low", "high"))
    point, rng = clip_fid(features, reference), np.random.default_rng(seed)
    drawn = [clip_fid(features[rng.integers(len(features), size=len(features))], reference)
             for _ in range(draws)]
    low, high = np.percentile(drawn, (2.5, 97.5)) + point - np.mean(drawn)
    return {"mean": point, "low": float(low), "high": float(high)}
