"""Rounds of painting: the half of the Studio behind Paint and Stop.

What is asked comes from the other half, see app.py.
"""

import re
import threading
import time
from pathlib import Path

import ipywidgets as widgets

from pbe_lite.studio import record, session
from pbe_lite.studio.cards import LARGE, Card, Cards
from pbe_lite.studio.code_box import CodeBox
from pbe_lite.studio.controls import OPEN, WIDE, button, in_words, notice
from pbe_lite.studio.pictures import encode, save_bytes, shrink
from pbe_lite.studio.still import Pictured

KEPT = 12  # pictures that the history holds


class Rounds(Pictured):
    """Paint, Stop, progress, results, history and code.  A subclass has `question()`,
    `use(image)`, `restore(round)`, `painter`, `settings`, `pipes` and `folders`."""

    def __init__(self, folder):
        super().__init__(layout=OPEN)
        self.folder, self.answers, self.rounds = folder, [], 0
        self._stop, self._thread = threading.Event(), None
        self._asked = False  # whether the complaint that is shown is about the question
        self._files = []  # [(image, its file or None)] of the original and the last one
        self.start_button = button("Paint", self.paint, icon="paint-brush",
                                   button_style="primary").add_class("pbe-start")
        self.stop_button = button("Stop", self.stop, icon="stop",
                                  disabled=True).add_class("pbe-stop")
        self.progress = widgets.FloatProgress(min=0, max=1, layout=WIDE)
        self.preview = widgets.Image(layout={"display": "none"})
        self.preview.add_class("pbe-preview")
        self.notice = widgets.HTML(notice("Ready."), layout=WIDE)
        self.results = Cards("Results").add_class("pbe-results")
        self.history = Cards("Before", KEPT).add_class("pbe-history")
        self.code = CodeBox()

    def say(self, text):
        """Show a line under the buttons."""
        self._asked = False
        self.notice.value = notice(text)

    def fail(self, error):
        """Show an exception under the buttons."""
        self._asked = False
        self.notice.value = notice(in_words(error), "error")

    def _ask_again(self):
        """Take a complaint away once its cause is gone; one about the question is the
        latest that the question still deserves."""
        if "pbe-error" not in self.notice.value or not self.pipes:
            return
        try:
            if self._asked:
                self.question()
        except ValueError as error:
            self.notice.value = notice(error, "error")
        else:
            self.say("Ready.")

    def paint(self):
        """Start a round in a thread; what is wrong with the question is shown at once."""
        if self.start_button.disabled:
            return
        self.settings.roll()
        try:
            question = self.question()
            pipes = {name: self.pipes[name] for name in self.settings.chosen}
        except ValueError as error:
            self.fail(error)
            self._asked = True
            return
        self._stop.clear()
        self._set_busy(True)
        self.rounds += 1
        self._thread = threading.Thread(target=self._work, args=(question, pipes),
                                        daemon=True)
        self._thread.start()

    def stop(self):
        """Let the running round end after its present step."""
        self._stop.set()
        self.say("Stopping after this step ...")

    def wait(self, timeout=None):
        """Wait for the round to end, at most `timeout` seconds; return its answers."""
        if self._thread:
            self._thread.join(timeout)
        return self.answers

    def _set_busy(self, busy):
        on, off = self.stop_button, self.start_button
        if not busy:
            on, off = off, on
        on.disabled = False  # first, so that it can take the focus of the other
        off.disabled = True
        self.preview.layout.display = None if busy else "none"

    def _work(self, question, pipes):
        begun = time.perf_counter()
        try:
            self._begin()
            for answers in session.paint(pipes, question, self._stop, self._watch):
                self.answers += answers
                self.results.cards += tuple(map(self._card, answers))
            self.progress.value = 1
            self.say(f"Done in {time.perf_counter() - begun:.1f} s.")
        except session.Stopped:
            self.say("Stopped; the pictures that were done are kept.")
        except Exception as error:  # whatever it is: show it, and stay usable
            self.progress.value = 0
            self.fail(error)
        finally:
            self._write_code(question, pipes)
            self._set_busy(False)

    def _begin(self):
        """The last results into the history; nothing of them stays to be seen."""
        waits = session.ONE_AT_A_TIME.locked()
        self.say("Another Studio paints; this one waits." if waits else "Painting ...")
        self.preview.value = encode(shrink(self.painter.small, LARGE))
        before, self.results.cards = self.results.cards, ()
        self._remember(before)
        self.answers, self.progress.value = [], 0

    def _watch(self, arm, share, picture):
        if self._stop.is_set():
            return
        self.progress.value = share
        self.say(f"Painting {arm}; {share:.0%} of all is done.")
        if picture is not None:
            self.preview.value = encode(shrink(picture, LARGE))

    def _write_code(self, question, pipes):
        """The inputs to files, after the round: on a large picture that takes time."""
        origin = next((file for image, file in self._files if image is question.image),
                      None)
        try:
            files = record.save_inputs(question, self.folder, origin)
        except OSError as error:
            self.code.value = f"# no code: its inputs cannot be written\n# {error}"
            return
        self._files = [self._files[0], (question.image, files["image"])]
        self.code.value = record.reproducing_code(question, pipes, self.folders, files)

    # --------------------------------------------------------------------- results

    def _card(self, answer):
        return Card(answer, {"use": lambda answer: self.use(answer.image),
                             "again": lambda answer: self.restore(
                                 record.round_of(answer))})

    def _remember(self, cards):
        """Add to the history; the same copy-paste is not shown twice."""
        again = [old for old in self.history.cards
                 if any(_same_paste(old.answer, card.answer) for card in cards)]
        kept = [old for old in self.history.cards if old not in again]
        self.history.cards = (*cards, *kept)
        for card in again:
            card.close()

    def save(self, answer):
        """Write an answer, with its settings inside, as PNG into `folder`; say where."""
        name = re.sub(r"[^\w.-]+", "-", answer.title)
        try:
            path = save_bytes(record.png_with_settings(answer), self.folder, name)
        except OSError as error:
            self.fail(error)
        else:
            self.say(f"Saved {path.name} in {Path(self.folder).name}/")


def _same_paste(one, other):
    """Whether two answers are the same copy-paste: many rounds give it again."""
    return one.arm == other.arm == session.COPY_PASTE and one.corner == other.corner \
        and one.patch.tobytes() == other.patch.tobytes()
