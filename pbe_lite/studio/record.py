"""What a result was made of: as Python that makes it again, and inside its PNG.

The PNG's text chunk `pbe_lite` holds, as JSON, the settings and the three things that the
picture itself does not show: what the hole covered, its shape, and the exemplar."""

import base64
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from pbe_lite import config, crop_and_paste
from pbe_lite.studio.pictures import File, png, read_picture, save_bytes, save_png
from pbe_lite.studio.session import ARGUMENTS, SOFTNESS

CHUNK = "pbe_lite"
NUMBERS = ("guidance_scale", "steps", "seed", "softness")


class Round(NamedTuple):
    """What a PNG of ours restores; `settings`: numbers by name, and "arm"."""

    image: np.ndarray
    hole: np.ndarray
    exemplar: Image.Image
    settings: dict


def _text(picture):
    return base64.b64encode(png(picture)).decode("ascii")


def _picture(text):
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        image.load()
        return image


def settings_of(answer):
    """{"arm", "guidance_scale", "steps", "seed", "softness"}; None: not used."""
    return dict(arm=answer.arm, guidance_scale=answer.guidance_scale, steps=answer.steps,
                seed=answer.seed, softness=answer.question.softness)


def round_of(answer):
    """The `Round` that gave an answer."""
    question = answer.question
    return Round(question.image, question.hole, question.exemplar, settings_of(answer))


def png_with_settings(answer):
    """The whole picture as the bytes of a PNG that `read_round` restores."""
    if answer.question is None:
        return png(answer.image)
    image, hole, exemplar, settings = round_of(answer)
    x0, y0, x1, y1 = map(int, crop_and_paste.hole_box(hole))
    record = dict(settings, box=[x0, y0, x1, y1], covered=_text(image[y0:y1, x0:x1]),
                  hole=_text(hole[y0:y1, x0:x1]), exemplar=_text(exemplar))
    info = PngImagePlugin.PngInfo()
    info.add_text(CHUNK, json.dumps(record))
    return png(answer.image, pnginfo=info)


def read_round(file):
    """The `Round` inside an uploaded PNG of ours; None for any other picture.

    Raises ValueError where there is a record that cannot be read."""
    try:
        with Image.open(io.BytesIO(file.data)) as picture:
            picture.load()
            text = getattr(picture, "text", {}).get(CHUNK)
            return None if text is None else _restore(picture, json.loads(text))
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return None  # `read_upload` says what is wrong with it
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{file.name}: the settings inside cannot be read") from None


def _restore(picture, record):
    x0, y0, x1, y1 = record["box"]
    image = np.array(read_picture(picture))
    image[y0:y1, x0:x1] = read_picture(_picture(record["covered"]))
    hole = np.zeros(image.shape[:2], bool)
    hole[y0:y1, x0:x1] = np.asarray(_picture(record["hole"])) > 0
    settings = {name: record[name] for name in ("arm", *NUMBERS)}
    return Round(image, hole, _picture(record["exemplar"]), settings)


# ------------------------------------------------------------------ the code to do it


def save_inputs(question, folder, origin=None):
    """Write what was asked: {"image", "hole", "exemplar": path}.  Raises OSError.

    origin: the file that the picture came from, a path or a `File`; it is not written
    again pixel by pixel.  None: there is none."""
    return {"image": _save_source(question.image, folder, origin),
            "hole": save_png(question.hole, folder, "mask"),
            "exemplar": save_png(question.exemplar, folder, "exemplar")}


def _save_source(image, folder, origin):
    if isinstance(origin, File):
        return save_bytes(origin.data, folder, "image", Path(origin.name).suffix)
    return save_png(image, folder, "image") if origin is None else Path(origin)


def reproducing_code(question, pipes, folders, files):
    """Python that paints the same answers again, into `images[arm]`.

    files: as `save_inputs` gives them; pipes, folders: as of `load_pipes`.  A pipeline
    without a folder is expected to be in a dict `pipes`."""
    soft = question.softness != SOFTNESS
    body = [f"    {ARGUMENTS[name]}={_place(path)}," for name, path in files.items()]
    body += [f"    {ARGUMENTS['seed']}={question.seed}, "
             f"{ARGUMENTS['samples']}={question.samples})", "images = {}"]
    for name, pipe in pipes.items():
        body += _call(name, pipe, question, folders[name], soft)
    needed = [n for n in ("RUNS", "WEIGHTS") if any(f"{n} / " in line for line in body)]
    lines = ["import numpy as np", ""] * soft
    lines += [f"from pbe_lite import PaintByExamplePipeline{', crop_and_paste' * soft}"]
    lines += [f"from pbe_lite.config import {', '.join(needed)}"] * bool(needed)
    return "\n".join([*lines, "", "question = dict(", *body]) + "\n"


def _call(name, pipe, question, folder, soft):
    guidance, steps = pipe.defaults(question.guidance_scale, question.steps)
    load = f"pipes[{name!r}]  # the one given to the Studio" if folder is None \
        else f"PaintByExamplePipeline.from_pretrained({_place(folder)})"
    numbers = f"{ARGUMENTS['guidance_scale']}={guidance}, {ARGUMENTS['steps']}={steps}"
    if not soft:
        return [f"pipe = {load}", f"images[{name!r}] = pipe(",
                f"    **question, {numbers}).images"]
    image, hole = ARGUMENTS["image"], ARGUMENTS["hole"]
    return [f"pipe = {load}",
            f"squares = pipe(**question, {numbers},",
            "               paste=False).images",
            f"image = crop_and_paste.read_image(question[{image!r}])",
            f"hole = crop_and_paste.read_mask(question[{hole!r}], image.shape[:2])",
            "window = crop_and_paste.hole_window(hole)",
            f"images[{name!r}] = [",
            "    crop_and_paste.paste(image, np.asarray(square), hole, window,",
            f"                         {question.softness}) for square in squares]"]


def _place(path):
    """A path as Python, by the project's own folders where it lies in one of them."""
    for name in ("RUNS", "WEIGHTS"):
        root = getattr(config, name)
        if Path(path).is_relative_to(root):
            return f"{name} / {Path(path).relative_to(root).as_posix()!r}"
    return repr(str(path))
