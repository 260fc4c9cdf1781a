"""What the Studio does behind its buttons, without a widget: ask, paint, stop.

A `Question` goes to several pipelines ("arms"); `paint` yields the answers of one after
another, lets somebody watch, and stops in the middle when it is told to.  However large
the picture, only a part of it is touched: the square around the hole.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pbe_lite import crop_and_paste
from pbe_lite.config import ARMS, WEIGHTS
from pbe_lite.data.reading import read_mask
from pbe_lite.evaluation.baselines import copy_paste
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.studio.pictures import as_image, read_picture, shrink
from pbe_lite.studio.preview import now_and_then, previewer, seen_by

COPY_PASTE = "copy-paste"
SOFTNESS = 1 / 32  # width of the feathered edge, of the square that the model sees
EXEMPLAR = 1024  # pixels: no tower looks at more than 224, and records stay small
ONE_AT_A_TIME = threading.Lock()  # two Studios may hold the same pipeline
# What a pipeline calls the fields of a Question; `reproducing_code` prints the same names.
ARGUMENTS = dict(image="image", hole="mask_image", exemplar="example_image",
                 guidance_scale="guidance_scale", steps="num_inference_steps", seed="seed",
                 samples="num_images_per_prompt")


class Stopped(Exception):
    """Raised out of a pipeline once somebody pressed Stop."""


class Question(NamedTuple):
    """What is asked: image (H, W, 3) uint8; hole (H, W) bool; exemplar, a PIL image.

    `guidance_scale` and `steps` None: as each arm was trained for.  `softness`: see
    `crop_and_paste.paste`."""

    image: np.ndarray
    hole: np.ndarray
    exemplar: Image.Image
    guidance_scale: float = None
    steps: int = None
    seed: int = 0
    samples: int = 1
    softness: float = SOFTNESS

    @property
    def options(self):
        """The numbers that a pipeline is called with, by our names."""
        return dict(zip(self._fields[3:7], self[3:7]))


@dataclass(eq=False)
class Answer:
    """One picture of a round.

    patch: PIL, the part of it that may have changed; corner: (x, y) of the patch in the
    picture; question: what was asked, None where nothing was.  `seed`, `guidance_scale`
    and `steps` are those of this picture, None where none was used."""

    arm: str
    seed: int
    patch: Image.Image
    corner: tuple = (0, 0)
    question: Question = None
    guidance_scale: float = None
    steps: int = None

    @property
    def title(self):
        return self.arm if self.seed is None else f"{self.arm}, seed {self.seed}"

    @property
    def details(self):
        """The settings in words."""
        if self.guidance_scale is None:
            return ""
        soft = self.question.softness
        edge = "" if soft == SOFTNESS else f", edge {soft:.0%}"
        return f"guidance {self.guidance_scale:g}, {self.steps} steps{edge}"

    @property
    def image(self):
        """The whole picture, PIL, of the source's size."""
        return self.small(None)

    def small(self, longest):
        """The whole picture, its longer side at most `longest` pixels; None: in full."""
        if self.question is None:
            return self.patch if longest is None else shrink(self.patch, longest)
        whole = as_image(self.question.image)
        scale = min(1, (longest or np.inf) / max(whole.size))
        whole = whole.copy() if scale == 1 else shrink(whole, longest)
        x, y = (round(v * scale) for v in self.corner)
        size = [max(1, round(v * scale)) for v in self.patch.size]
        whole.paste(self.patch if scale == 1 else self.patch.resize(size), (x, y))
        return whole


def ask(image, mask, exemplar, **options):
    """A `Question` from whatever the pipeline takes; a very large exemplar is shrunk.

    Raises ValueError for an empty hole and for one that covers everything."""
    image = read_picture(image)
    if not np.asarray(mask).any():
        raise ValueError("the hole is empty: mark one on the picture first")
    hole = read_mask(mask, image.shape[:2])
    exemplar = shrink(read_picture(exemplar, "example_image"), EXEMPLAR)
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


def cut(question):
    """The question about the part of its picture that the model sees, and the corner
    (x, y) of that part: what is asked of it has the same answer.

    A pixel more on every side, so that the hole still ends where it ended."""
    left, top, side = crop_and_paste.hole_window(question.hole)
    x, y = max(0, left - 1), max(0, top - 1)
    part = np.s_[y:top + side + 1, x:left + side + 1]
    return question._replace(image=question.image[part], hole=question.hole[part]), (x, y)


def paint(pipes, question, stop, watch):
    """Yield lists of Answers: copy-paste first, then one list for each of `pipes`.

    stop: a threading.Event; once it is set, Stopped is raised after the running step.
    watch(arm, share, picture) is called after every step: share of the whole work done,
    0..1; picture as `previewer` gives it, or None when the last one was just shown."""
    yield [_copy_paste(question)]
    part, corner = cut(question)
    for i, (arm, pipe) in enumerate(pipes.items()):
        patches = paint_one(pipe, part, stop, _share_of(watch, arm, i, len(pipes)))
        used = pipe.defaults(question.guidance_scale, question.steps)
        yield [Answer(arm, question.seed + k, patch, corner, question, *used)
               for k, patch in enumerate(patches)]


def _copy_paste(question):
    x0, y0, x1, y1 = map(int, crop_and_paste.hole_box(question.hole))
    tight = np.s_[y0:y1, x0:x1]
    pasted = copy_paste(question.image[tight], question.hole[tight], question.exemplar)
    return Answer(COPY_PASTE, None, Image.fromarray(pasted), (x0, y0), question)


def _share_of(watch, arm, index, count):
    return lambda share, picture: watch(arm, (index + share) / count, picture)


def paint_one(pipe, question, stop, watch):
    """The PIL images of one pipeline; watch(share, picture) and `stop` as in `paint`."""
    look = now_and_then(previewer(pipe, question))

    def callback(pipe, step, timestep, tensors):
        if stop.is_set():
            raise Stopped
        watch((step + 1) / pipe.num_timesteps, look(tensors["latents"]))

    _wait_for_turn(stop)
    try:
        return edit(pipe, question, callback)
    except Stopped:
        pipe.maybe_free_model_hooks()  # what the call would have done at its end
        raise
    finally:
        ONE_AT_A_TIME.release()


def _wait_for_turn(stop):
    while not ONE_AT_A_TIME.acquire(timeout=.1):
        if stop.is_set():
            raise Stopped


def edit(pipe, question, callback=None):
    """The only call of a pipeline: PIL images of the size of the question's.

    It is given the square that it would cut out itself, so that a large picture is read
    and resized once, and not once for every arm."""
    window, square, hole = seen_by(pipe, question)
    asked, context = question._replace(image=square, hole=hole), pipe.resolution
    if hole.all():  # a pipeline takes no picture that is all hole
        asked, context = question, 3.
    options = {ARGUMENTS[k]: v for k, v in asked._asdict().items() if k in ARGUMENTS}
    squares = pipe(**options, context=context, callback_on_step_end=callback,
                   paste=False).images
    return [Image.fromarray(crop_and_paste.paste(
        question.image, np.asarray(painted), question.hole, window, question.softness))
        for painted in squares]
