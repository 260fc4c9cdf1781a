"""The Studio: mark a hole, pick an exemplar, look - one widget around any pipelines.

    studio = Studio()        # the shipped arms, a scene of the miniature world
    studio = Studio(pipe, source="photo.jpg")

Painting runs in a thread of its own, so that Stop and the kernel stay free meanwhile.
Several Studios take turns; your own code should not call their pipelines meanwhile.
"""

import re
import threading
import time

import ipywidgets as widgets
import numpy as np
from PIL import Image

from pbe_lite.config import RUNS
from pbe_lite.data.boxes import grow_box
from pbe_lite.data.tabletop import HELD_OUT_SEEDS, Scene
from pbe_lite.studio import session
from pbe_lite.studio.controls import (
    COLUMN,
    LARGE,
    ROW,
    SMALL,
    WIDE,
    Card,
    Cards,
    Settings,
    button,
    notice,
    number,
    title,
    uploader,
)
from pbe_lite.studio.exemplar_picker import ExemplarPicker
from pbe_lite.studio.mask_painter import MaskPainter

SCENE = 3
KEPT = 12  # pictures that the history holds


class Studio(widgets.VBox):
    """Painter, exemplar picker, settings, Paint and Stop, results, history, code.

    pipes: a pipeline, a folder of weights, {name: either}, or None for what is shipped.
    source, exemplar: as `read_image` takes them, or None for the miniature world.
    folder: where pictures, and the inputs of the reproducing code, are written.

    From Python: `paint()` starts a round and `wait()` ends it; `answers` lists what it
    gave, `session.Answer`s; `rounds` counts; `source`, `painter.mask`, `picker.exemplar`,
    `settings` and `code.value` are what they say.  Raises OSError for a folder without a
    model; what goes wrong later is shown in the widget, which stays usable."""

    def __init__(self, pipes=None, source=None, exemplar=None, folder=RUNS / "studio"):
        super().__init__(layout={"overflow": "visible"})
        self.add_class("pbe-studio")
        self.pipes, self.folders = session.load_pipes(pipes)
        self.folder, self.answers, self.rounds = folder, [], 0
        self._stop, self._thread = threading.Event(), None
        first = next(iter(self.pipes.values()))
        self.size = int(np.clip(first.resolution, 64, 512))
        self.painter = MaskPainter(source) if source is not None \
            else MaskPainter(*self._scene_and_box(SCENE))
        self.picker = ExemplarPicker(self.source, size=self.size)
        if exemplar is not None:
            self.picker.use(exemplar)
        guidance = max(pipe.defaults()[0] for pipe in self.pipes.values())
        self.settings = Settings(self.pipes, guidance, first.defaults()[1],
                                 first.most_steps)
        self.results = Cards("Results").add_class("pbe-results")
        self.history = Cards("Before", KEPT).add_class("pbe-history")
        self.children = (self._columns(), self.results, self.history, self._code_box())

    # ------------------------------------------------------------------- its parts

    def _columns(self):
        columns = (("1 · Mark the hole", self.painter, self._source_row()),
                   ("2 · Pick an exemplar", self.picker),
                   ("3 · Paint", self.settings, *self._paint_controls()))
        boxes = [widgets.VBox([title(text), *parts], layout=COLUMN)
                 for text, *parts in columns]
        return widgets.HBox(boxes, layout=ROW)

    def _source_row(self):
        self.scene = number("scene", SCENE, 0, HELD_OUT_SEEDS[-1],
                            "of the miniature world, by its seed")
        self.scene.observe(lambda change: self.show_scene(change["new"]), "value")
        self.upload = uploader("Own picture", self.use, self.fail)
        return widgets.HBox([self.scene, self.upload], layout=ROW)

    def _paint_controls(self):
        self.start_button = button("Paint", self.paint, icon="paint-brush",
                                   button_style="primary")
        self.stop_button = button("Stop", self.stop, icon="stop", disabled=True)
        self.progress = widgets.FloatProgress(min=0, max=1, layout=WIDE)
        self.notice = widgets.HTML(notice("Ready."), layout=WIDE)
        self.preview = widgets.Image(layout={"width": f"{LARGE}px", "display": "none"})
        self.preview.add_class("pbe-preview")
        buttons = widgets.HBox([self.start_button, self.stop_button], layout=ROW)
        return buttons, self.progress, self.notice, self.preview

    def _code_box(self):
        self.code = widgets.Textarea(
            placeholder="After Paint: code that gives the same pictures again.",
            rows=9, layout=WIDE)
        self.code.add_class("pbe-code")
        return widgets.VBox([title("The same in Python"), self.code],
                            layout={"overflow": "visible"})

    def say(self, text):
        """Show a line under the buttons."""
        self.notice.value = notice(text)

    def fail(self, error):
        """Show an exception under the buttons."""
        expected = isinstance(error, ValueError)
        text = str(error) if expected else f"{type(error).__name__}: {error}"
        self.notice.value = notice(text, "error")

    # ------------------------------------------------------------------ the source

    @property
    def source(self):
        """The picture that is edited, (H, W, 3) uint8."""
        return self.painter.image

    def _scene_and_box(self, seed):
        """A scene and the box of its object, grown: what `MaskPainter` takes."""
        scene = Scene(seed).render(self.size)
        return scene.image, grow_box(scene.box, .15)

    def show_scene(self, seed):
        """Edit a scene of the miniature world, its object's box as the hole."""
        self.painter.reset(*self._scene_and_box(seed))
        self.picker.scene = self.source

    def use(self, image):
        """Edit another picture, as `read_image` takes it; the hole stays where it
        is, and the picture that was edited goes to the history."""
        before = session.Answer("source", None, Image.fromarray(self.source))
        self.painter.image = image
        self.picker.scene = self.source
        self._remember([self._card(before)])

    # -------------------------------------------------------------------- painting

    def question(self):
        """What Paint would ask now.  Raises ValueError, for an empty hole for one."""
        return session.ask(self.source, self.painter.mask, self.picker.exemplar,
                            **self.settings.options)

    def paint(self):
        """Start a round in a thread; what is wrong with the question is shown at once."""
        if self.start_button.disabled:
            return
        try:
            question = self.question()
            pipes = {name: self.pipes[name] for name in self.settings.chosen}
        except ValueError as error:
            self.fail(error)
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

    def wait(self, timeout=None):
        """Wait for the round to end, at most `timeout` seconds; return its answers."""
        if self._thread:
            self._thread.join(timeout)
        return self.answers

    def _set_busy(self, busy):
        self.start_button.disabled, self.stop_button.disabled = busy, not busy
        self.preview.layout.display = None if busy else "none"

    def _work(self, question, pipes):
        begun = time.perf_counter()
        try:
            self._begin(question, pipes)
            for answers in session.paint(pipes, question, self._stop, self._watch):
                self.answers += answers
                self.results.cards += tuple(map(self._card, answers))
            self.say(f"Done in {time.perf_counter() - begun:.1f} s.")
        except session.Stopped:
            self.say("Stopped; the pictures that were done are kept.")
        except Exception as error:  # whatever it is: show it, and stay usable
            self.fail(error)
        finally:
            self._set_busy(False)

    def _begin(self, question, pipes):
        """The last results into the history, the code into its box."""
        before, self.results.cards = self.results.cards, ()
        self._remember(before)
        self.answers, self.progress.value = [], 0
        try:
            files = session.save_inputs(question, self.folder)
        except OSError as error:
            self.code.value = f"# no code: its inputs cannot be written\n# {error}"
            return
        self.code.value = session.reproducing_code(question, pipes, self.folders, files)

    def _watch(self, arm, share, picture):
        self.progress.value = share
        self.say(f"Painting {arm}; {share:.0%} of all is done.")
        if picture is not None:
            self.preview.value = session.png(session.shrink(picture, LARGE))

    # --------------------------------------------------------------------- results

    def _card(self, answer):
        return Card(answer, lambda answer: self.use(answer.image), self.save)

    def _remember(self, cards):
        for card in cards:
            card.resize(SMALL)
        self.history.cards = (*cards, *self.history.cards)

    def save(self, answer):
        """Write an answer as PNG into `folder` and say where."""
        name = re.sub(r"[^\w.-]+", "-", answer.title)
        try:
            path = session.save_png(answer.image, self.folder, name)
        except OSError as error:
            self.fail(error)
        else:
            self.say(f"Saved {path}")
