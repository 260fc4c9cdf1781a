"""What the first cell of a lesson needs, and its questions to the reader.

    from pbe_lite import lesson
    lesson.setup()
    PAIRS = lesson.budget(smoke=8, laptop=60, gpu=200)
"""

from collections.abc import Sequence
from functools import wraps
from html import escape
from itertools import count
from zlib import crc32

import diffusers
import tqdm
import transformers

from pbe_lite import plots
from pbe_lite.environment import PROFILES, profile

QUESTIONS = count()  # so that every question's buttons have a name of their own
SHEET = """
<style>
.pbe-predict {border-left: 4px solid #0072b2; padding: .2em 1em; margin: .4em 0}
.pbe-predict label {display: block; margin: .25em 0; cursor: pointer}
.pbe-predict .verdict {display: none; font-weight: 600}
.pbe-predict input:checked ~ .verdict {display: inline}
.pbe-predict summary {cursor: pointer; margin-top: .4em}
</style>
"""


def setup() -> None:
    """The course's style for figures; progress bars, which a saved page cannot show, and
    the libraries' advice to programmers off.

    Whoever wants them leaves this call out and calls `plots.setup()` alone."""
    plots.setup()
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
    begin = tqdm.std.tqdm.__init__  # of all bars, those of notebooks too

    @wraps(begin)
    def begin_silent(bar, *args, **options):
        begin(bar, *args, **{**options, "disable": True})

    tqdm.std.tqdm.__init__ = begin_silent


def budget(**sizes):
    """The one of `smoke`, `laptop`, `gpu` that the profile asks for, see `profile`.

    Raises ValueError when the three are not all given."""
    if set(sizes) != set(PROFILES):
        raise ValueError(f"sizes must be smoke, laptop and gpu, got {sorted(sizes)}")
    return sizes[profile()]


class Prediction:
    """A question with buttons; it needs no kernel, and is folded text without them."""

    def __init__(self, question, options, answer, because):
        self.question = question
        self.options = options
        self.answer = answer
        self.because = because

    def __repr__(self):
        return f"{self.question}\n" + "\n".join(f"  ( ) {text}" for text in self.options)

    def _repr_html_(self):
        # JupyterLab shows several notebooks in one page, and each counts from 0
        group = f"pbe-predict-{next(QUESTIONS)}-{crc32(self.question.encode())}"
        choices = "".join(self._choice(group, text) for text in self.options)
        return (f'{SHEET}<div class="pbe-predict" role="group" '
                f'aria-label="{escape(self.question)}"><b>{escape(self.question)}</b>'
                f"{choices}<details><summary>I have chosen: show the answer</summary>"
                f"<b>{escape(self.answer)}.</b> {escape(self.because)}</details></div>")

    def _choice(self, group, text):
        right = text == self.answer
        verdict = "yes" if right else "not so: think again, or open the answer"
        return (f'<label><input type="radio" name="{group}"> {escape(text)} '
                f'<span class="verdict">&nbsp; {verdict}</span></label>')


def predict(question: str, options: Sequence[str], answer: str,
            because: str = "") -> Prediction:
    """Ask before a result is shown: the reader presses a button and is told whether it is
    right; the reason stays folded.  Works in a saved page too.

    question, options, answer, because: plain text; `answer` is one of the options.
    Raises ValueError where it is not, or where an option comes twice."""
    options = list(options)
    if answer not in options or len(set(options)) < len(options):
        raise ValueError(f"answer must be one of the options, each of them once; got "
                         f"{answer!r} and {options}")
    return Prediction(question, options, answer, because)
