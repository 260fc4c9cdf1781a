"""The Studio: mark a hole, pick an exemplar, look - one widget around any pipelines.

    studio = Studio()        # the shipped arms, a scene of the miniature world
    studio = Studio(pipe, source="photo.jpg")

Painting runs in a thread of its own, so that Stop and the kernel stay free meanwhile.
Several Studios take turns; your own code should not call their pipelines meanwhile.
"""

from pathlib import Path

import ipywidgets as widgets
import numpy as np

from pbe_lite import plots
from pbe_lite.config import RUNS
from pbe_lite.data.boxes import grow_box
from pbe_lite.data.tabletop import HELD_OUT_SEEDS, Scene
from pbe_lite.studio import record, session
from pbe_lite.studio.cards import LARGE
from pbe_lite.studio.controls import Settings, button, number, row, title
from pbe_lite.studio.exemplar_picker import ExemplarPicker
from pbe_lite.studio.mask_painter import MaskPainter
from pbe_lite.studio.pictures import as_image, read_upload, shrink
from pbe_lite.studio.rounds import Rounds
from pbe_lite.studio.uploads import Upload

SCENE = 99  # a purple lock on a plain table


class Studio(Rounds):
    """Painter, exemplar picker, settings, Paint and Stop, results, history, code.

    pipes: a pipeline, a folder of weights, {name: either}, or None for what is shipped.
    source, exemplar: as `read_image` takes them, or None for the miniature world.
    folder: where pictures, and the inputs of the reproducing code, are written.

    From Python: `paint()` starts a round and `wait()` ends it; `answers` lists what it
    gave, `session.Answer`s; `rounds` counts; `source`, `painter.mask`, `picker.exemplar`,
    `settings` and `code.value` are what they say; `save(answer)` writes a PNG.  What goes
    wrong, missing weights too, is shown in the widget, which stays usable."""

    def __init__(self, pipes=None, source=None, exemplar=None, folder=RUNS / "studio"):
        super().__init__(folder)
        self.add_class("pbe-studio").add_class("pbe-zone")
        self._glanced = False
        self.settings = self._load(pipes)
        self.painter = MaskPainter(source) if source is not None \
            else MaskPainter(*self._scene_and_box(SCENE))
        self._begin_with(source if isinstance(source, (str, Path)) else None)
        self.picker = ExemplarPicker(self.source, size=self.size)
        if exemplar is not None:
            self.picker.use(exemplar)
        self.children = (self._workspace(), self.history, self.code)
        self._watch_inputs()

    # ------------------------------------------------------------------- its parts

    def _load(self, pipes):
        """The pipelines, as `pipes` and `folders`; returns the settings for them."""
        try:
            self.pipes, self.folders = session.load_pipes(pipes)
        except (ValueError, OSError) as error:
            self.pipes, self.folders, self.size = {}, {}, 128
            self.fail(ValueError(f"No model: {error}. Only copy-paste can answer."))
            return Settings({}, 1, 1, 1)
        first = next(iter(self.pipes.values()))
        self.size = int(np.clip(first.resolution, 64, 512))
        guidance = max(pipe.defaults()[0] for pipe in self.pipes.values())
        return Settings(self.pipes, guidance, first.defaults()[1], first.most_steps)

    def _workspace(self):
        buttons = row(self.start_button, self.stop_button, self.progress)
        mark = widgets.VBox([title("1 · Mark the hole"), self._source_row(), self.painter,
                             buttons.add_class("pbe-actions"), self.notice])
        mark.add_class("pbe-mark")
        pick = widgets.VBox([title("2 · Pick an exemplar"), self.picker,
                             title("Settings"), self.settings]).add_class("pbe-pick")
        seen = widgets.VBox([self.preview, self.results]).add_class("pbe-seen")
        return widgets.Box([mark, pick, seen]).add_class("pbe-work")

    def _source_row(self):
        self.scene = number("scene", SCENE, 0, HELD_OUT_SEEDS[-1],
                            "of the miniature world, by its seed")
        self.scene.layout.width, self.scene.style.description_width = "120px", "45px"
        self.scene.observe(lambda change: self.show_scene(change["new"]), "value")
        again = button("Show", lambda: self.show_scene(self.scene.value),
                       tooltip="this scene, with the hole that it starts with")
        self.upload = Upload("Own picture", self._take, self.fail, self._glance,
                             drops=True, tip="choose a picture, or a PNG that was saved "
                             "here; or drop or paste it anywhere")
        self.back = button("Original", lambda: self._edit(self.original),
                           tooltip="the picture that all of these edits began with")
        return row(self.scene, again, self.upload, self.back)

    def _watch_inputs(self):
        self.settings.watch(self._ask_again)
        for part in (self.painter, self.picker):
            part.observe(lambda _: self._ask_again(), "changes")

    def stills(self):
        """{caption: picture}: the picture with its hole, the exemplar, the results."""
        small = self.painter.small
        hole = np.asarray(shrink(self.painter.hole, max(small.size)).resize(small.size))
        return {"hole": plots.overlay(small, hole), "exemplar": self.picker.exemplar,
                **{a.title: a.small(LARGE) for a in self.answers}}

    # ------------------------------------------------------------------ the source

    @property
    def source(self):
        """The picture that is edited, (H, W, 3) uint8."""
        return self.painter.image

    def _scene_and_box(self, seed):
        """A scene and the box of its object, grown: what `MaskPainter` takes."""
        scene = Scene(seed).render(self.size)
        return scene.image, grow_box(scene.box, .15)

    def _begin_with(self, origin=None):
        """What is shown now is the original; origin: its file, if it came from one."""
        self.original = self.source
        self._files = [(self.source, origin)]

    def show_scene(self, seed):
        """Edit a scene of the miniature world, its object's box as the hole."""
        if self.scene.value != seed:
            self.scene.value = seed  # which calls this function again
            return
        self.painter.reset(*self._scene_and_box(seed))
        self.picker.scene = self.source
        self._begin_with()

    def use(self, image):
        """Edit another picture, as `read_image` takes it; the hole stays where it
        is, and the picture that was edited goes to the history."""
        before = session.Answer("source", None, as_image(self.source))
        self._edit(image)
        self._remember([self._card(before)])

    def _edit(self, image):
        self.painter.image = image
        self.picker.scene = self.source

    def _glance(self, picture):
        """A small copy of a photograph that is on its way: the hole can be marked."""
        self.use(picture)
        self._glanced = True
        self.say(f"{self.upload.pending} is on its way ...")

    def _take(self, file):
        """An uploaded file: a picture of one's own, or a result with its settings."""
        glanced, self._glanced = self._glanced, False
        found = record.read_round(file)
        if found is not None:
            self.restore(found)
            self._begin_with()
            return
        picture = read_upload(file)
        (self._edit if glanced else self.use)(picture)
        self._begin_with(file)
        self.say(f"{file.name}: {picture.shape[1]} x {picture.shape[0]} pixels.")

    def restore(self, made):
        """Put back what made a picture, a `record.Round`: source, hole, exemplar,
        settings.  Paint then gives that picture again."""
        self.painter.reset(made.image)
        self.painter.mask = made.hole
        self.picker.scene = self.source
        self.picker.use(made.exemplar)
        self.settings.restore(**made.settings)
        self.say(f"As it was for {made.settings['arm']}; Paint gives it again.")

    def question(self):
        """What Paint would ask now.  Raises ValueError, for an empty hole for one."""
        if self.upload.pending:
            raise ValueError(f"{self.upload.pending} is still on its way: one moment")
        return session.ask(self.source, self.painter.hole, self.picker.exemplar,
                           **self.settings.options)
