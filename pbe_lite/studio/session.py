"""What the Studio does behind its buttons, without a widget: ask, paint, write down.

A `Question` goes to several pipelines ("arms"); `paint` yields the answers of one after
another, lets somebody watch, and stops in the middle when it is told to.
"""

import hashlib
import io
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pbe_lite import crop_and_paste
from pbe_lite.config import ARMS, WEIGHTS
from pbe_lite.data.images import resize, resize_hole, to_bytes
from pbe_lite.data.reading import read_image, read_mask
from pbe_lite.evaluation.baselines import copy_paste
from pbe_lite.pipeline import PaintByExamplePipeline

COPY_PASTE = "copy-paste"
ONE_AT_A_TIME = threading.Lock()  # two Studios may hold the same pipeline


class Stopped(Exception):
    """Raised out of a pipeline once somebody pressed Stop."""


class Question(NamedTuple):
    """What is asked: image (H, W, 3) uint8; hole (H, W) bool; exemplar, a PIL image.

    `guidance_scale` and `steps` None: as each arm was trained for."""

    image: np.ndarray
    hole: np.ndarray
    exemplar: Image.Image
    guidance_scale: float = None
    steps: int = None
    seed: int = 0
    samples: int = 1

    @property
    def options(self):
        """The numbers, as keyword arguments of a pipeline."""
        return {"guidance_scale": self.guidance_scale, "num_inference_steps": self.steps,
                "seed": self.seed, "num_images_per_prompt": self.samples}


class Answer(NamedTuple):
    """One picture, PIL; `seed` is None where none was used."""

    arm: str
    seed: int
    image: Image.Image

    @property
    def title(self):
        return self.arm if self.seed is None else f"{self.arm}, seed {self.seed}"


def ask(image, mask, exemplar, **options):
    """A `Question` from whatever the pipeline takes.

    Raises ValueError for an empty hole and for one that covers everything."""
    image = read_image(image)
    if not np.asarray(mask).any():
        raise ValueError("the hole is empty: mark one on the picture first")
    hole = read_mask(mask, image.shape[:2])
    exemplar = Image.fromarray(read_image(exemplar, "example_image"))
    return Question(image, hole, exemplar, **options)


def shipped_models():
    """{arm: folder} of all shipped pipelines, in the order of `config.ARMS`."""
    return {arm: WEIGHTS / arm for arm in ARMS
            if (WEIGHTS / arm / "model_index.json").is_file()}


def load_pipes(pipes=None):
    """A pipeline, a folder, {name: either} or None (all shipped) -> two dicts by name:
    pipelines that print no progress bar, and folders (None for a pipeline that was given).

    Raises ValueError where there is none, OSError where a folder holds no model."""
    pipes = shipped_models() if pipes is None else pipes
    pipes = dict(pipes) if isinstance(pipes, Mapping) else {"pipe": pipes}
    if not pipes:
        raise ValueError("no pipeline was given, and data/weights holds none")
    folders = {name: None if callable(p) else Path(p) for name, p in pipes.items()}
    loaded = {name: p if callable(p) else PaintByExamplePipeline.from_pretrained(p)
              for name, p in pipes.items()}
    for pipe in loaded.values():
        pipe.set_progress_bar_config(disable=True)
    return loaded, folders


# ------------------------------------------------------------------------- painting


def paint(pipes, question, stop, watch):
    """Yield lists of Answers: copy-paste first, then one list for each of `pipes`.

    stop: a threading.Event; once it is set, Stopped is raised after the running step.
    watch(arm, share, picture) is called after every step: share of the whole work done,
    0..1; picture as `previewer` gives it, or None when the last one was just shown."""
    pasted = copy_paste(question.image, question.hole, question.exemplar)
    yield [Answer(COPY_PASTE, None, Image.fromarray(pasted))]
    for i, (arm, pipe) in enumerate(pipes.items()):
        images = paint_one(pipe, question, stop, _share_of(watch, arm, i, len(pipes)))
        yield [Answer(arm, question.seed + k, image) for k, image in enumerate(images)]


def _share_of(watch, arm, index, count):
    return lambda share, picture: watch(arm, (index + share) / count, picture)


def paint_one(pipe, question, stop, watch):
    """The PIL images of one pipeline; watch(share, picture) and `stop` as in `paint`."""
    look = now_and_then(previewer(pipe, question))

    def callback(pipe, step, timestep, tensors):
        if stop.is_set():
            raise Stopped
        watch((step + 1) / pipe.num_timesteps, look(tensors["latents"]))

    with ONE_AT_A_TIME:
        try:
            return pipe(question.exemplar, question.image, question.hole,
                        callback_on_step_end=callback, **question.options).images
        except Stopped:
            pipe.maybe_free_model_hooks()  # what the call would have done at its end
            raise


def previewer(pipe, question):
    """A function from latents (B, c, h, w) to a picture (S, S, 3) uint8: the square that
    the model sees, its hole filled with the first sample as it stands."""
    window, side = crop_and_paste.hole_window(question.hole), pipe.resolution
    square = resize(crop_and_paste.crop(question.image, window), side)
    hole = resize_hole(crop_and_paste.crop(question.hole, window), side)

    def show(latents):
        painted = to_bytes(pipe.decode(latents[:1]))[0]
        whole = crop_and_paste.Window(0, 0, side)
        return crop_and_paste.paste(square, painted, hole, whole)

    return show


def now_and_then(function, gap=.1, share=.2, clock=time.perf_counter):
    """`function`, but a call returns None while it is too early: within `gap` seconds of
    the last one, or when it would take more than `share` of the time."""
    due = -np.inf

    def call(*args):
        nonlocal due
        begun = clock()
        if begun < due:
            return None
        value = function(*args)
        cost = clock() - begun
        due = begun + cost + max(gap, cost * (1 / share - 1))
        return value

    return call


# -------------------------------------------------------------------- writing down


def shrink(image, longest):
    """A picture, PIL or (H, W, 3) uint8, as a PIL image whose longer side has at most
    `longest` pixels."""
    image = image.copy() if isinstance(image, Image.Image) else Image.fromarray(image)
    image.thumbnail((longest, longest))
    return image


def png(image):
    """A picture, PIL or (H, W[, 3]) uint8, as the bytes of a PNG file."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, "png")
    return stream.getvalue()


def save_png(image, folder, name):
    """Write a picture to `folder` and return its path; part of the file's name comes from
    its content, so that no other picture is overwritten.  Raises OSError."""
    data = png(image)
    path = Path(folder) / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def reproducing_code(question, pipes, folders, files):
    """Python that paints the same answers again, into `images[arm]`.

    files: as `save_inputs` gives them; pipes, folders: as of `load_pipes`.  A
    pipeline without a folder is expected to be in a dict `pipes`."""
    lines = ["from pbe_lite import PaintByExamplePipeline", "", "question = dict("]
    lines += [f"    {name}={str(path)!r}," for name, path in files.items()]
    lines += [f"    seed={question.seed}, num_images_per_prompt={question.samples})",
              "images = {}"]
    for name, pipe in pipes.items():
        guidance, steps = pipe.defaults(question.guidance_scale, question.steps)
        load = f"pipes[{name!r}]  # the one given to the Studio" if folders[name] is None \
            else f"PaintByExamplePipeline.from_pretrained({str(folders[name])!r})"
        lines += [f"pipe = {load}", f"images[{name!r}] = pipe(",
                  f"    **question, guidance_scale={guidance},",
                  f"    num_inference_steps={steps}).images"]
    return "\n".join(lines) + "\n"


def save_inputs(question, folder):
    """Write what was asked as PNG: {argument of a pipeline: path}.  Raises OSError."""
    pictures = {"example_image": question.exemplar, "image": question.image,
                "mask_image": question.hole.astype(np.uint8) * 255}
    return {name: save_png(picture, folder, name) for name, picture in pictures.items()}
