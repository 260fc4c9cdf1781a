"""The Studio without a browser: a round, Stop, errors, history, code."""

import json
import re
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from PIL import Image

from pbe_lite.data.tabletop import Scene
from pbe_lite.studio import record, session
from pbe_lite.studio.app import SCENE, Studio
from pbe_lite.studio.pictures import png
from pbe_lite.studio.rounds import KEPT


@pytest.fixture
def studio(pipe, tmp_path):
    made = Studio({"one": pipe, "two": pipe}, folder=tmp_path / "studio")
    made.settings.steps.value = 3
    return made


def press(card, act):
    """What arrives when a button of a card is clicked."""
    card._handle_custom_msg({"do": act}, [])


def run(studio):
    """One round from the button, to its end."""
    studio.start_button.click()
    answers = studio.wait(60)
    assert not studio.start_button.disabled and studio.stop_button.disabled
    return answers


def test_it_opens_with_everything_that_a_round_needs(studio):
    np.testing.assert_array_equal(studio.source, Scene(SCENE).render(64).image)
    question = studio.question()
    assert question.hole.any() and not question.hole.all()
    assert question.exemplar.size[0] > 4 and question.steps == 3


def test_a_round_shows_copy_paste_and_every_arm(studio):
    answers = run(studio)
    assert [a.arm for a in answers] == ["copy-paste", "one", "two"]
    assert [c.answer for c in studio.results.cards] == answers
    assert studio.progress.value == 1 and "Done" in studio.notice.value
    assert studio.preview.value.tobytes()[:4] == b"\x89PNG"
    outside = studio.painter.mask == 0
    for answer in answers:
        image = np.asarray(answer.image)
        np.testing.assert_array_equal(image[outside], studio.source[outside])
        assert (image != studio.source).any()


def test_what_is_set_is_what_is_painted(studio, pipe):
    studio.settings.samples.value, studio.settings.seed.value = 2, 7
    studio.settings.own.value, studio.settings.guidance.value = False, 2.
    studio.settings.arms["two"].value = False
    answers = run(studio)[1:]
    assert [(a.arm, a.seed) for a in answers] == [("one", 7), ("one", 8)]
    direct = pipe(studio.picker.exemplar, studio.source, studio.painter.mask,
                  num_inference_steps=3, guidance_scale=2., seed=7, num_images_per_prompt=2)
    for answer, image in zip(answers, direct.images, strict=True):
        np.testing.assert_array_equal(answer.image, image)


def test_stop_really_stops(studio):
    studio.settings.steps.value, studio.settings.samples.value = 1000, 8
    studio.start_button.click()
    assert studio.start_button.disabled and not studio.stop_button.disabled
    begun = time.monotonic()
    while not studio.progress.value and time.monotonic() < begun + 30:
        time.sleep(.01)
    studio.stop_button.click()
    answers = studio.wait(30)
    assert studio.progress.value < .5  # in the first of two arms
    assert [a.arm for a in answers] == ["copy-paste"]
    assert "Stopped" in studio.notice.value and not studio.start_button.disabled
    studio.settings.steps.value, studio.settings.samples.value = 2, 1
    assert len(run(studio)) == 3


def test_errors_are_shown_and_the_studio_stays_usable(studio, pipe, monkeypatch):
    mask = studio.painter.mask
    studio.painter.mask = np.zeros_like(mask)
    studio.start_button.click()
    assert "hole is empty" in studio.notice.value and "alert" in studio.notice.value
    assert not studio.start_button.disabled
    studio.painter.mask = mask
    monkeypatch.setattr(type(pipe), "encode", lambda *_: 1 / 0)
    run(studio)
    assert "ZeroDivisionError" in studio.notice.value
    monkeypatch.undo()
    for box in studio.settings.arms.values():
        box.value = False
    studio.start_button.click()
    assert "no arm" in studio.notice.value
    studio.settings.arms["one"].value = True
    assert len(run(studio)) == 2 and "Done" in studio.notice.value


def test_a_second_click_while_it_paints_does_nothing(studio):
    studio.settings.steps.value = 100
    studio.start_button.click()
    thread = studio._thread
    studio.paint()
    assert studio._thread is thread
    studio.wait(60)


def test_a_result_becomes_the_next_source_and_the_old_one_is_kept(studio):
    before, answers = studio.source, run(studio)
    press(studio.results.cards[1], "use")
    np.testing.assert_array_equal(studio.source, answers[1].image)
    np.testing.assert_array_equal(studio.picker.scene, studio.source)
    kept = studio.history.cards[0].answer
    assert kept.title == "source"
    np.testing.assert_array_equal(kept.image, before)
    assert len(run(studio)) == 3  # and it can be painted on
    assert [c.answer for c in studio.history.cards[:3]] == answers


def upload(studio, name, data, glance=None):
    """What arrives when a file is dropped on the Studio."""
    if glance is not None:
        studio.upload._handle_custom_msg({"do": "glance", "id": "1", "name": name},
                                         [glance])
    studio.upload._handle_custom_msg({"do": "piece", "id": "1", "name": name, "last": True},
                                     [data])


def test_the_original_is_kept_through_any_number_of_edits(studio):
    first = studio.source
    for _ in range(3):
        run(studio)
        press(studio.results.cards[1], "use")
    assert (studio.source != first).any()
    studio.back.click()
    assert studio.source is first


def test_a_card_puts_its_settings_back(studio):
    studio.settings.seed.value, studio.settings.own.value = 9, False
    studio.settings.guidance.value, studio.settings.softness.value = 4.5, .1
    answer = run(studio)[2]
    assert "guidance 4.5, 3 steps" in answer.details
    studio.show_scene(8)
    studio.settings.seed.value, studio.settings.steps.value = 0, 2
    studio.settings.guidance.value, studio.settings.softness.value = 1, 0
    studio.picker.show("yellow duck")
    press(studio.results.cards[2], "again")
    assert studio.settings.chosen == ["two"]
    np.testing.assert_array_equal(run(studio)[1].image, answer.image)


def test_a_saved_png_that_is_dropped_restores_the_round(studio):
    answer = run(studio)[1]
    source, hole = studio.source, studio.painter.mask
    studio.show_scene(8)
    upload(studio, "result.png", record.png_with_settings(answer))
    np.testing.assert_array_equal(studio.source, source)
    np.testing.assert_array_equal(studio.painter.mask, hole)
    np.testing.assert_array_equal(run(studio)[1].image, answer.image)


def test_a_photograph_can_be_marked_before_it_has_arrived(studio, picture):
    whole = picture(300, 400)
    studio.upload._handle_custom_msg({"do": "glance", "id": "1", "name": "p.png"},
                                     [png(picture(30, 40))])
    assert studio.source.shape == (30, 40, 3)
    studio.painter.mask = np.eye(30, 40)
    studio.start_button.click()
    assert "on its way" in studio.notice.value and not studio.rounds
    share = studio.painter.mask.mean()
    upload(studio, "p.png", png(whole))
    np.testing.assert_array_equal(studio.source, whole)
    assert studio.painter.mask.mean() == pytest.approx(share)
    assert "alert" not in studio.notice.value
    assert studio.history.cards[0].answer.image.size == (64, 64)  # what was edited before
    assert len(studio.history.cards) == 1
    assert np.asarray(run(studio)[1].image).shape == (300, 400, 3)


def test_complaints_go_when_their_cause_goes(studio):
    mask = studio.painter.mask
    studio.painter.mask = np.zeros_like(mask)
    studio.start_button.click()
    studio.picker.show("yellow duck")
    assert "hole is empty" in studio.notice.value  # it still is
    studio.painter.mask = mask
    assert "alert" not in studio.notice.value
    for box in studio.settings.arms.values():
        box.value = False
    studio.start_button.click()
    assert "no arm" in studio.notice.value
    studio.settings.arms["one"].value = True
    assert "alert" not in studio.notice.value
    upload(studio, "text.png", b"no picture")
    assert "text.png cannot be read" in studio.notice.value
    upload(studio, "good.png", png(studio.source))
    assert "alert" not in studio.notice.value


def test_after_an_error_nothing_looks_done(studio, pipe, monkeypatch):
    run(studio)
    monkeypatch.setattr(type(pipe), "encode", lambda *_: 1 / 0)
    run(studio)
    assert studio.progress.value == 0
    assert [c.answer.arm for c in studio.results.cards] == ["copy-paste"]


def test_without_weights_there_is_one_line_and_copy_paste(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "WEIGHTS", tmp_path)
    for studio in (Studio(folder=tmp_path), Studio(tmp_path / "gone", folder=tmp_path)):
        assert "alert" in studio.notice.value and "No model" in studio.notice.value
        assert [a.arm for a in run(studio)] == ["copy-paste"]


def test_the_seed_is_locked_or_new_for_every_round(studio):
    studio.settings.seed.value = 3
    run(studio)
    assert studio.settings.seed.value == 3
    studio.settings.random.value = True
    first = run(studio)[1].seed
    assert first == studio.settings.seed.value
    assert run(studio)[1].seed != first


def test_the_scene_can_be_shown_again_after_something_else(studio, picture):
    studio.use(picture(30, 40))
    studio.show_scene(SCENE)
    np.testing.assert_array_equal(studio.source, Scene(SCENE).render(64).image)
    studio.show_scene(9)
    assert studio.scene.value == 9


def test_pages_without_a_kernel_get_a_picture(studio, monkeypatch):
    run(studio)
    shown = []
    monkeypatch.setattr("pbe_lite.studio.still.display",
                        lambda data, raw: shown.append(data))
    studio._ipython_display_()
    live, still = shown
    assert live["text/plain"] == "" and len(live) == 2
    assert set(still) == {"image/png", "text/plain"}
    assert len(still["image/png"]) > 10_000 and "/" not in still["text/plain"]
    json.dumps(shown)


def test_the_notebook_as_html_shows_a_picture_and_no_folder_of_a_machine():
    path = Path(__file__).parents[1] / "notebooks" / "studio.ipynb"
    cells = nbformat.read(path, 4).cells
    (opens,) = (c for c in cells if c.source.rstrip().endswith("\nstudio"))
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[opens]))
    assert "data:image/png;base64" in page and "Studio(" not in page.split("</pre>")[-1]
    outputs = json.dumps([c.get("outputs") for c in cells])
    assert not re.search(r"/(home|root|work|Users)/", outputs)


def test_the_history_is_limited(studio):
    studio.settings.steps.value = 1
    for _ in range(7):  # copy-paste, always the same, counts once
        run(studio)
    assert len(studio.history.cards) == KEPT


def test_another_scene_brings_its_own_hole(studio):
    studio.scene.value = 9
    scene = Scene(9).render(64)
    np.testing.assert_array_equal(studio.source, scene.image)
    assert (studio.painter.mask[scene.alpha > .5] == 1).all()
    np.testing.assert_array_equal(studio.picker.scene, scene.image)


def test_saving_writes_the_picture_and_says_where(studio, tmp_path):
    answers = run(studio)
    studio.save(answers[1])
    (path,) = (tmp_path / "studio").glob("one-seed-0-*.png")
    np.testing.assert_array_equal(Image.open(path), answers[1].image)
    assert path.name in studio.notice.value


def test_a_folder_that_cannot_be_written_spoils_only_the_files(studio, tmp_path):
    (tmp_path / "file").write_text("in the way")
    studio.folder = tmp_path / "file" / "studio"
    assert len(run(studio)) == 3
    assert studio.code.value.startswith("# no code")
    studio.save(studio.answers[1])
    assert "alert" in studio.notice.value


def test_the_code_in_the_box_gives_the_same_pictures(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    studio = Studio(tmp_path / "model", folder=tmp_path / "studio")
    studio.settings.steps.value = 2
    answers = run(studio)
    found = {}
    exec(studio.code.value, found)
    np.testing.assert_array_equal(found["images"]["pipe"][0], answers[1].image)


def test_any_pipeline_source_and_exemplar_will_do(kl_pipe, picture, tmp_path):
    studio = Studio(kl_pipe, picture(90, 130), picture(20, 30), tmp_path)
    studio.settings.steps.value = 2
    answers = run(studio)
    assert [a.image.size for a in answers] == [(130, 90)] * 2
    np.testing.assert_array_equal(studio.question().exemplar, picture(20, 30))


def test_the_shipped_arms_are_the_default(tmp_path, pipe, monkeypatch):
    for arm in ("final", "naive", "elsewhere"):
        pipe.save_pretrained(tmp_path / arm)
    monkeypatch.setattr(session, "WEIGHTS", tmp_path)
    assert list(Studio(folder=tmp_path).pipes) == ["naive", "final"]
