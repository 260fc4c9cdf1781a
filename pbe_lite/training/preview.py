"""What an arm can do so far, on pictures that it is not trained on.

    run/samples.png   a row a picture: with its hole, the exemplar, what is painted

The exemplar is that of the next picture, so that copying what was in the hole is no way
out.  Pictures, holes, noise and time steps are the same at every look, and nothing that
the training uses is touched: a run with previews ends bit-identical to one without.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from pbe_lite.config import Preset
from pbe_lite.data.tabletop import Scene
from pbe_lite.data.triplets import Triplets
from pbe_lite.pipeline import to_bytes

ROWS = 8         # pictures in samples.png
LOSSES = 64      # pictures that the loss is the mean of
SEED = 10_007    # of holes, noise and time steps
UNSEEN_SEEDS = range(900, 900 + LOSSES)  # of scenes: no training, no benchmark


def unseen_scenes(preset: Preset, kinds: list[str] | None = None) -> list[dict]:
    """Scenes of the miniature world that no run trains on, as records; kinds: of these,
    in turn."""
    records = []
    for i, seed in enumerate(UNSEEN_SEEDS):
        scene = Scene(seed, kinds[i % len(kinds)] if kinds else None)
        render = scene.render(preset.resolution)
        alpha = Image.fromarray((255 * render.alpha).astype(np.uint8))
        records.append({"image_id": f"{seed:016x}", "image": Image.fromarray(render.image),
                        "boxes": [render.box], "labels": [scene.label], "alpha": alpha})
    return records


@contextmanager
def undisturbed(module: torch.nn.Module) -> Iterator[None]:
    """In eval mode, with random numbers of its own; afterwards all is as it was."""
    modes = {part: part.training for part in module.modules()}
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(gpus), torch.no_grad():
        torch.manual_seed(SEED)
        module.eval()
        try:
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode


def look(objective, records, batch_size: int, path: Path) -> float:
    """Write samples.png to `path`; the mean loss on `records`, never trained on."""
    with undisturbed(objective):
        loss = held_out_loss(objective, records, batch_size)
        Image.fromarray(paint_samples(objective, records)).save(path)
    return loss


def held_out_loss(objective, records, batch_size: int) -> float:
    """The mean training loss of an arm on `records`, with holes, augmentation, time steps
    and noise drawn from a fixed seed."""
    traits = objective.traits
    triplets = Triplets(records, objective.preset, SEED, traits.augment, traits.augment)
    keys = [(0, i) for i in range(min(LOSSES, len(records)))]
    losses = []
    for start in range(0, len(keys), batch_size):
        batch = default_collate([objective.with_noise(triplets, key)
                                 for key in keys[start:start + batch_size]])
        device = next(objective.unet.parameters()).device
        losses.append(objective({k: v.to(device) for k, v in batch.items()}).float())
    return float(torch.cat(losses).mean())


def paint_samples(objective, records) -> np.ndarray:
    """The picture of samples.png: (rows S, 3 S, 3) uint8."""
    pipe = objective.pipeline()
    pipe.set_progress_bar_config(disable=True)
    plain = Triplets(records, objective.preset, SEED, augment=False, shapes=False)
    chosen = [plain[0, i] for i in range(min(ROWS, len(records)))]
    rows = []
    for i, triplet in enumerate(chosen):  # one at a time: no more memory than training
        image, hole = triplet["image"][None], triplet["hole"][None]
        exemplar = chosen[(i + 1) % len(chosen)]["exemplar"][None]
        generator = torch.Generator().manual_seed(SEED + i)
        painted = pipe.paint(exemplar, image, hole, pipe.noise([SEED + i]),
                             generator=generator)
        shown = torch.nn.functional.interpolate(as_picture(exemplar), image.shape[-2:])
        rows.append(torch.cat([image * (1 - hole), shown, painted.float().cpu()], -1))
    return np.concatenate(to_bytes(torch.cat(rows)))


def as_picture(exemplar: torch.Tensor) -> torch.Tensor:
    """An exemplar as CLIP gets it, (B, 3, E, E) -> the same in [-1, 1]."""
    mean = torch.tensor(OPENAI_CLIP_MEAN).view(1, 3, 1, 1)
    deviation = torch.tensor(OPENAI_CLIP_STD).view(1, 3, 1, 1)
    return 2 * (exemplar * deviation + mean) - 1
