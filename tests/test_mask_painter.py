"""The painter and the picker, spoken to as the browser does; test_browser.py clicks."""

import io

import numpy as np
import pytest
from PIL import Image

from pbe_lite.data.colours import COLOURS
from pbe_lite.data.masks import box_mask
from pbe_lite.data.tabletop import Scene
from pbe_lite.data.triplets import crop_box
from pbe_lite.studio import cards, controls, exemplar_picker, mask_painter
from pbe_lite.studio.exemplar_picker import ExemplarPicker
from pbe_lite.studio.mask_painter import BOX, Gallery, MaskPainter
from pbe_lite.studio.pictures import png
from pbe_lite.studio.session import Answer

BRUSH = {"kind": "brush", "points": [[.1, .1], [.3, .1]], "width": .1}


def send(widget, **message):
    """What arrives when the browser sends a message."""
    widget._handle_custom_msg(message, [])


def unpacked(painter):
    """The mask that the browser was given, (h, w)."""
    width, height = painter.canvas.size
    bits = np.unpackbits(np.frombuffer(painter.canvas.mask, np.uint8))
    return bits[:width * height].reshape(height, width)


def upload(widget, name, content, piece=1000):
    """What arrives when a file was chosen: its bytes in pieces."""
    for at in range(0, max(1, len(content)), piece):
        message = {"do": "piece", "id": f"{name}:1", "name": name,
                   "last": at + piece >= len(content)}
        widget._handle_custom_msg(message, [memoryview(content[at:at + piece])])


@pytest.fixture
def painter(picture):
    return MaskPainter(picture(60, 90))


# --------------------------------------------------------------------------- painter


def test_it_starts_with_a_valid_hole_of_the_pictures_size(painter):
    assert painter.mask.shape == (60, 90) and painter.mask.dtype == np.float32
    np.testing.assert_array_equal(painter.mask, box_mask(BOX, (60, 90)))
    np.testing.assert_array_equal(unpacked(painter), painter.mask)
    assert not painter.canvas.can_undo and not painter.canvas.can_redo


def test_a_stroke_arrives_once_and_is_acknowledged(painter):
    seen = []
    painter.observe(lambda change: seen.append(painter.mask.sum()), "changes")
    before = painter.mask
    send(painter.canvas, do="mark", mark=BRUSH, id="view:1")
    assert len(seen) == 1 and painter.canvas.done == "view:1"
    assert painter.mask[6, 18] == 1 and before[6, 18] == 0
    assert (painter.mask >= before).all()
    np.testing.assert_array_equal(unpacked(painter), painter.mask)


def test_undo_redo_and_clear_by_message(painter):
    first = painter.mask
    send(painter.canvas, do="mark", mark=BRUSH, id="a:1")
    second = painter.mask
    send(painter.canvas, do="undo", id="a:2")
    np.testing.assert_array_equal(painter.mask, first)
    assert painter.canvas.can_redo and not painter.canvas.can_undo
    send(painter.canvas, do="redo", id="a:3")
    np.testing.assert_array_equal(painter.mask, second)
    send(painter.canvas, do="mark", mark={"kind": "clear"}, id="a:4")
    assert not painter.mask.any()
    with pytest.raises(ValueError, match="nothing is marked"):
        painter.box  # noqa: B018


def test_a_mark_that_cannot_be_drawn_is_acknowledged_with_a_note(painter):
    before = painter.mask
    send(painter.canvas, do="mark", mark={"kind": "lasso", "points": []}, id="a:1")
    assert "3 or more points" in painter.canvas.note and painter.canvas.done == "a:1"
    np.testing.assert_array_equal(painter.mask, before)
    send(painter.canvas, do="mark", mark=BRUSH, id="a:2")
    assert not painter.canvas.note


def test_the_mask_can_be_set_from_python_and_undone(painter):
    before, wanted = painter.mask, np.zeros((60, 90), bool)
    wanted[5:9, 3:70] = True
    painter.mask = wanted
    np.testing.assert_array_equal(painter.mask, wanted)
    send(painter.canvas, do="undo", id="a:1")
    np.testing.assert_array_equal(painter.mask, before)
    with pytest.raises(ValueError, match="the image's size"):
        painter.mask = np.zeros((90, 60))


def test_the_mask_is_a_copy(painter):
    painter.mask[:] = 0
    assert painter.mask.any()


def test_a_large_picture_is_shown_smaller_but_masked_in_full(picture):
    painter = MaskPainter(picture(2400, 1800))
    assert painter.canvas.size == [768, 1024]
    assert Image.open(io.BytesIO(painter.canvas.picture)).size == (768, 1024)
    assert painter.mask.shape == (2400, 1800)
    assert unpacked(painter).mean() == pytest.approx(painter.mask.mean(), abs=.01)


def test_another_picture_keeps_the_hole_and_reset_does_not(painter, picture):
    send(painter.canvas, do="mark", mark=BRUSH, id="a:1")
    share = painter.mask.mean()
    painter.image = picture(120, 180)
    assert painter.mask.shape == (120, 180)
    assert painter.mask.mean() == pytest.approx(share, abs=.01)
    painter.reset(picture(60, 60), (0, 0, .5, 1))
    assert painter.mask[:, :30].all() and not painter.mask[:, 30:].any()
    assert not painter.canvas.can_undo


def test_what_is_no_picture_and_no_box_is_refused(painter, picture):
    before = painter.image
    with pytest.raises(ValueError, match="image"):
        painter.image = "no such file.png"
    np.testing.assert_array_equal(painter.image, before)
    with pytest.raises(ValueError, match="box must be"):
        MaskPainter(picture(60, 60), (.5, .5, .5, .5))


def test_a_crop_box_is_replaced_by_the_next(picture):
    cropper = MaskPainter(picture(60, 90), crop=True, tools=("box",))
    send(cropper.canvas, do="mark", mark={"kind": "frame", "box": [0, 0, .5, .5]}, id="a:1")
    np.testing.assert_allclose(cropper.box, (0, 0, .5, .5))


# ---------------------------------------------------------- when there is no front end


def test_sliders_stand_in_and_say_so(painter):
    note = painter.sliders.children[0].value
    assert "cannot be loaded" in note and "sliders" in note
    before = painter.sliders.picture.value
    painter.sliders.across.value = (0, .5)
    painter.sliders.down.value = (.5, 1)
    np.testing.assert_array_equal(painter.mask, box_mask((0, .5, .5, 1), (60, 90)))
    assert painter.sliders.picture.value != before
    painter.sliders.across.value = (.5, .5)  # no box: nothing changes
    np.testing.assert_array_equal(painter.mask, box_mask((0, .5, .5, 1), (60, 90)))


def test_sliders_are_left_alone_once_a_browser_draws(painter):
    send(painter.canvas, do="ready")
    before = painter.sliders.picture.value
    send(painter.canvas, do="mark", mark=BRUSH, id="a:1")
    assert painter.sliders.picture.value == before


def test_the_stand_in_is_core_ipywidgets_alone(painter):
    def walk(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    for widget in walk(painter.sliders):
        assert widget._model_module.startswith("@jupyter-widgets/")


def test_without_anywidget_the_sliders_are_all(monkeypatch, picture):
    monkeypatch.setattr(mask_painter, "Drawn", None)
    painter = MaskPainter(picture(60, 90))
    assert painter.children == (painter.sliders,)


# ---------------------------------------------------------------------------- gallery


def test_a_picked_thumbnail_is_named(picture):
    picked = []
    gallery = Gallery({"a": picture(200, 100), "b": np.asarray(picture(9, 9))},
                      picked.append)
    assert Image.open(io.BytesIO(gallery.pictures[0])).size == (48, 96)
    for index in (1, 0, 2, -1):
        send(gallery, do="pick", index=index)
    assert picked == ["b", "a"]
    gallery.mark("b")
    assert gallery.index == 1
    gallery.mark("c")
    assert gallery.index == -1


# ----------------------------------------------------------------------------- picker


@pytest.fixture
def chooser(picture):
    return ExemplarPicker(picture(64, 96), size=64)


def shipped(name, size=64):
    colour, kind = name.split(" ", 1)
    render = Scene(exemplar_picker.SHOWN_SEED, kind, COLOURS[colour]).render(size)
    return crop_box(Image.fromarray(render.image), render.box)


def test_it_starts_with_a_shipped_exemplar(chooser):
    np.testing.assert_array_equal(chooser.exemplar, shipped("red mushroom"))
    assert chooser.names.value == "red mushroom" and chooser.gallery.index == 0


def test_thumbnails_and_names_pick_the_same(chooser):
    send(chooser.gallery, do="pick", index=1)
    np.testing.assert_array_equal(chooser.exemplar, shipped("yellow duck"))
    assert chooser.names.value == "yellow duck"
    chooser.names.value = "cyan owl"
    np.testing.assert_array_equal(chooser.exemplar, shipped("cyan owl"))
    assert chooser.gallery.index == -1  # not among the thumbnails


def test_a_name_can_be_picked_again_after_something_else(chooser, picture):
    chooser.use(picture(20, 30))
    send(chooser.gallery, do="pick", index=0)
    np.testing.assert_array_equal(chooser.exemplar, shipped("red mushroom"))


def test_an_upload_is_taken_whole_and_can_be_cropped(chooser, picture):
    upload(chooser.upload, "mine.png", png(picture(40, 60)))
    np.testing.assert_array_equal(chooser.exemplar, picture(40, 60))
    assert chooser.names.value is None  # no shipped object is shown
    changes = chooser.changes
    send(chooser.cropper.canvas, do="mark", id="a:1",
         mark={"kind": "frame", "box": [0, 0, .5, .5]})
    assert chooser.exemplar.size == (30, 20) and chooser.changes == changes + 1


def test_a_broken_upload_is_named_and_the_next_one_works(chooser, picture):
    before = np.asarray(chooser.exemplar)
    whole = png(picture(40, 60))
    for name, content in (("text.png", b"no picture"), ("half.png", whole[:200])):
        upload(chooser.upload, name, content)
        assert name in chooser.notice.value and "alert" in chooser.notice.value
        np.testing.assert_array_equal(chooser.exemplar, before)
    upload(chooser.upload, "good.png", whole)
    assert "alert" not in chooser.notice.value
    np.testing.assert_array_equal(chooser.exemplar, picture(40, 60))


def test_a_piece_of_the_scene_is_an_exemplar(chooser, picture):
    chooser.cut.click()
    np.testing.assert_array_equal(
        chooser.exemplar, crop_box(picture(64, 96), exemplar_picker.MIDDLE))
    chooser.scene = None
    assert chooser.cut.disabled


def test_all_thumbnails_are_shipped_objects(chooser):
    assert set(exemplar_picker.THUMBNAILS) <= set(chooser.names.options)
    assert chooser.gallery.names == list(exemplar_picker.THUMBNAILS)


# --------------------------------------------------------------------------- controls


def test_notices_are_text_and_not_code():
    assert "&lt;b&gt;" in controls.notice("<b>")
    assert 'role="alert"' in controls.notice("no", "error")


def test_settings_are_the_arms_own_guidance_until_told_otherwise():
    settings = controls.Settings(["a", "b"], 3., 25, 1000)
    assert settings.options == dict(guidance_scale=None, steps=25, seed=0, samples=1,
                                    softness=1 / 32)
    steps = settings.softness.value / settings.softness.step
    assert steps == round(steps)  # or the browser would round it to another value
    assert settings.guidance.disabled and settings.chosen == ["a", "b"]
    settings.own.value, settings.guidance.value = False, 4.5
    assert not settings.guidance.disabled and settings.options["guidance_scale"] == 4.5
    settings.arms["a"].value = False
    assert settings.chosen == ["b"]
    settings.arms["b"].value = False
    with pytest.raises(ValueError, match="no arm"):
        settings.chosen  # noqa: B018


def test_a_card_hands_its_answer_over(picture):
    used, again, sent = [], [], []
    answer = Answer("final", 3, picture(400, 300))
    card = cards.Card(answer, {"use": used.append, "again": again.append})
    card.send = lambda content, buffers: sent.append((content, buffers))
    for act in ("use", "again", "save"):
        send(card, do=act)
    assert used == [answer] and again == [answer]
    ((content, (saved,)),) = sent
    assert content["name"] == "final-seed-3.png"
    np.testing.assert_array_equal(Image.open(io.BytesIO(saved)), answer.image)
    assert Image.open(io.BytesIO(card.picture)).size == (144, 192)


def test_cards_beyond_the_limit_are_closed(picture):
    make = lambda: cards.Card(Answer("a", 0, picture(9, 9)), {})
    shown = cards.Cards("Before", kept=2)
    first, second, third = make(), make(), make()
    shown.cards = (first, second)
    shown.cards = (third, *shown.cards)
    assert shown.cards == (third, first)
    assert second.comm is None and first.comm is not None
