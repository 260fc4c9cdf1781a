"""What the lite CLIP sees: shape, or colour alone?

    python tests/benchmarks/clip_report.py    # about a minute; -> data/results/clip.json

Crops of scenes that nothing was trained on.  Zero-shot: the nearest of the 48 kinds'
captions, in hues of training, in the arcs that were never trained, and in grey.  Colours:
the nearest of eight captions of the right kind, and the share within one step of the
colour wheel.  Probe: logistic regression on the class token, which conditions the models,
fitted on kinds in hues of training, and asked in those, in the unseen arcs, and in grey.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from pbe_lite.config import RESULTS, WEIGHTS
from pbe_lite.data.colours import COLOURS, colour_name
from pbe_lite.data.images import crop_box, squash, to_clip
from pbe_lite.data.tabletop import HELD_OUT_SEEDS, Scene, draw_hue, kind_names
from pbe_lite.models.clip import load_clip, text_features
from pbe_lite.training.contrastive import jitter_box


def crops(model, per_kind, first, unseen=False, grey=False):
    """(class tokens, unit vectors, kinds, hues) of crops of held-out scenes."""
    size, pixels, kinds, hues = model.config.vision_config.image_size, [], [], []
    for k, kind in enumerate(kind_names()):
        for i in range(per_kind):
            rng = np.random.default_rng([29, first + i, k])
            hue = draw_hue(rng, kind, unseen)
            seed = HELD_OUT_SEEDS[(first + i + 20 * k) % len(HELD_OUT_SEEDS)]
            render = Scene(seed, kind, hue).render(128)
            crop = crop_box(Image.fromarray(render.image), jitter_box(render.box, rng))
            crop = crop.convert("L") if grey else crop
            pixels.append(to_clip(squash(crop, size)))
            kinds.append(k)
            hues.append(hue)
    with torch.no_grad():
        seen = model.vision_model(pixel_values=torch.stack(pixels)).pooler_output
        units = torch.nn.functional.normalize(model.visual_projection(seen), dim=-1)
    return seen.numpy(), units, np.array(kinds), hues


def kind_texts(model, tokenizer):
    """(48, D) features of the kinds' captions, which name no colour."""
    with torch.no_grad():
        return text_features(model, tokenizer, kind_names())


def zero_shot(units, kinds, texts):
    """Share of crops whose kind is the nearest caption's."""
    return float(((units @ texts.T).argmax(1).numpy() == kinds).mean())


def colours(model, tokenizer, units, kinds, hues):
    """(share of colours named right, share at most one step of the wheel away)."""
    words, names = list(COLOURS), kind_names()
    with torch.no_grad():
        texts = text_features(model, tokenizer, [f"{w} {n}" for n in names for w in words])
    texts = texts.unflatten(0, (len(names), len(words)))
    found = np.array([int((texts[k] @ u).argmax()) for u, k in zip(units, kinds)])
    right = np.array([words.index(colour_name(h)) for h in hues])
    steps = np.abs((found - right + 4) % 8 - 4)
    return float((steps == 0).mean()), float((steps <= 1).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--json", type=Path, default=RESULTS / "clip.json")
    args = parser.parse_args()
    model, tokenizer = load_clip(args.weights / "clip")
    texts = kind_texts(model, tokenizer)
    fitted = crops(model, 24, 0)
    probe = LogisticRegression(max_iter=2000, C=1.0).fit(fitted[0], fitted[2])
    asked = {"seen hues": crops(model, 8, 500), "unseen arcs": crops(model, 8, 500, True),
             "grey": crops(model, 8, 500, grey=True)}
    report = {name: {"zero_shot_kind": zero_shot(units, kinds, texts),
                     "probe_kind": float(probe.score(tokens, kinds))}
              for name, (tokens, units, kinds, _) in asked.items()}
    for name in ("seen hues", "unseen arcs"):
        right, near = colours(model, tokenizer, *asked[name][1:])
        report[name] |= {"colour": right, "colour_within_one_step": near}
    args.json.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
