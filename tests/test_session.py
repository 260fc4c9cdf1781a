"""Behind the Studio's buttons: asking, painting that can be stopped, writing down."""

import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pbe_lite.evaluation.baselines import copy_paste
from pbe_lite.studio import pictures, preview, record, session
from pbe_lite.studio.pictures import File
from pbe_lite.studio.session import Answer, Stopped, ask, load_pipes, paint, paint_one

HOLE = np.zeros((80, 120), bool)
HOLE[20:50, 60:95] = True


@pytest.fixture
def question(picture):
    return ask(picture(80, 120), HOLE, picture(33, 21), steps=4, seed=5, samples=2)


def ignore(*_):
    pass


def never():
    return threading.Event()


# ---------------------------------------------------------------------------- asking


def test_a_question_holds_arrays_and_the_numbers(question, picture):
    np.testing.assert_array_equal(question.image, np.asarray(picture(80, 120)))
    np.testing.assert_array_equal(question.hole, HOLE)
    assert question.exemplar.size == (21, 33)
    assert question.options == {"guidance_scale": None, "steps": 4, "seed": 5, "samples": 2}
    assert question.softness == session.SOFTNESS


def test_an_empty_and_an_endless_hole_are_refused(picture):
    for mask, said in ((np.zeros((80, 120)), "hole is empty"),
                       (np.ones((80, 120)), "whole image")):
        with pytest.raises(ValueError, match=said):
            ask(picture(80, 120), mask, picture(9, 9))


def test_one_pipeline_and_several_are_taken_by_name(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    pipes, folders = load_pipes({"given": pipe, "loaded": tmp_path / "model"})
    assert pipes["given"] is pipe and folders["given"] is None
    assert pipes["loaded"].resolution == pipe.resolution
    assert folders["loaded"] == tmp_path / "model"
    assert load_pipes(pipe) == ({"pipe": pipe}, {"pipe": None})


def test_without_weights_there_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "WEIGHTS", tmp_path)
    with pytest.raises(ValueError, match="no pipeline"):
        load_pipes()
    with pytest.raises(OSError):
        load_pipes({"gone": tmp_path / "gone"})


# -------------------------------------------------------------------------- painting


def test_the_answers_are_the_pipelines_own(pipe, question):
    rounds = list(paint({"one": pipe, "two": pipe}, question, never(), ignore))
    assert [[a.title for a in answers] for answers in rounds] == [
        ["copy-paste"], ["one, seed 5", "one, seed 6"], ["two, seed 5", "two, seed 6"]]
    pasted = copy_paste(question.image, HOLE, question.exemplar)
    np.testing.assert_array_equal(rounds[0][0].image, pasted)
    direct = pipe(question.exemplar, question.image, HOLE, **named(question)).images
    for answer, image in zip(rounds[1], direct, strict=True):
        np.testing.assert_array_equal(answer.image, image)


def named(question):
    """The numbers of a question under the names that a pipeline has for them."""
    return {session.ARGUMENTS[name]: value for name, value in question.options.items()}


@pytest.mark.parametrize("box", [
    (0, 0, 20, 20), (100, 60, 120, 80), (0, 20, 120, 60), (50, 0, 70, 80), (10, 5, 110, 75),
    (31, 17, 44, 29), (0, 0, 119, 80)])
def test_the_part_that_is_cut_out_has_the_same_answer(pipe, picture, box):
    hole = np.zeros((80, 120), bool)
    hole[box[1]:box[3], box[0]:box[2]] = True
    asked = ask(picture(80, 120), hole, picture(33, 21), steps=2)
    ((_,), (answer,)) = paint({"one": pipe}, asked, never(), ignore)
    (direct,) = pipe(asked.exemplar, asked.image, hole, **named(asked)).images
    np.testing.assert_array_equal(answer.image, direct)
    assert answer.small(60).size == (60, 40)


def test_a_softer_edge_changes_the_edge_only(pipe, question):
    hard, soft = (paint_one(pipe, question._replace(softness=s), never(), ignore)[0]
                  for s in (0, .05))
    differs = (np.asarray(hard) != np.asarray(soft)).any(-1)
    assert differs[20].any() and not differs[~HOLE].any()
    assert not differs[33:37, 75:80].any()


def test_a_round_that_waits_for_its_turn_can_be_stopped(pipe, question):
    stop = threading.Event()
    stop.set()
    with session.ONE_AT_A_TIME, pytest.raises(Stopped):
        paint_one(pipe, question, stop, ignore)


def test_the_share_that_is_done_grows_over_all_arms(pipe, question):
    seen = []
    list(paint({"one": pipe, "two": pipe}, question, never(),
               lambda arm, share, picture: seen.append((arm, share))))
    assert [arm for arm, _ in seen] == ["one"] * 4 + ["two"] * 4
    np.testing.assert_allclose([share for _, share in seen], np.arange(1, 9) / 8)


def test_the_first_step_is_shown_and_only_the_hole_differs(pipe, question):
    shown = []
    list(paint({"one": pipe}, question, never(),
               lambda arm, share, picture: shown.append(picture)))
    assert shown[0].shape == (64, 64, 3) and shown[0].dtype == np.uint8
    nothing = preview.previewer(pipe, question)(pipe.noise([0]))
    same = (shown[0] == nothing).all(-1)
    assert same.any() and not same.all()  # other noise, the same surroundings


@pytest.mark.parametrize("after", [0, 1, 5])
def test_stop_ends_it_at_the_next_step_and_the_pipeline_stays_usable(pipe, question, after):
    stop, seen = threading.Event(), []

    def watch(arm, share, picture):
        seen.append(share)
        if len(seen) == after:
            stop.set()

    if after == 0:
        stop.set()
    with pytest.raises(Stopped):
        list(paint({"one": pipe, "two": pipe}, question, stop, watch))
    assert len(seen) == after
    assert len(list(paint({"one": pipe}, question, never(), ignore))) == 2


def test_two_that_paint_with_one_pipeline_do_not_disturb_each_other(pipe, question):
    asked = [question, question._replace(seed=40, steps=7)]
    alone = [paint_one(pipe, q, never(), ignore) for q in asked]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(paint_one, pipe, q, never(), ignore) for q in 3 * asked]
        together = [job.result() for job in jobs]
    for i, images in enumerate(together):
        for one, other in zip(images, alone[i % 2], strict=True):
            np.testing.assert_array_equal(one, other)


def test_previews_leave_most_of_the_time_to_the_painting():
    now, calls = [0.], []

    def slow(cost):
        calls.append(now[0])
        now[0] += cost
        return "picture"

    look = preview.now_and_then(slow, gap=1, share=.2, clock=lambda: now[0])
    assert look(2) == "picture"  # the first at once: 0 to 2
    now[0] = 9.9
    assert look(2) is None  # 2 seconds are a fifth of 10
    now[0] = 10
    assert look(.1) == "picture"
    now[0] = 11
    assert look(.1) is None  # cheap, but within a second
    now[0] = 11.2
    assert look(.1) == "picture" and calls == [0, 10, 11.2]


# ---------------------------------------------------------------------- writing down


def test_the_code_gives_the_same_pictures_again(pipe, question, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    pipes, folders = load_pipes({"mine": tmp_path / "model", "given": pipe})
    answers = list(itertools.chain(*paint(pipes, question, never(), ignore)))
    files = record.save_inputs(question, tmp_path / "inputs")
    code = record.reproducing_code(question, pipes, folders, files)
    assert max(map(len, code.replace(str(tmp_path), "").splitlines())) <= 92
    found = {"pipes": {"given": pipe}}
    exec(code, found)
    for arm in ("mine", "given"):
        expected = [a.image for a in answers if a.arm == arm]
        for image, again in zip(expected, found["images"][arm], strict=True):
            np.testing.assert_array_equal(image, again)


@pytest.mark.parametrize("softness", [session.SOFTNESS, .1])
def test_the_code_names_no_folder_of_this_machine(pipe, question, softness, monkeypatch,
                                                  tmp_path):
    monkeypatch.setattr("pbe_lite.config.RUNS", tmp_path / "runs")
    monkeypatch.setattr("pbe_lite.config.WEIGHTS", tmp_path / "weights")
    pipe.save_pretrained(tmp_path / "weights" / "mine")
    question = question._replace(softness=softness)
    pipes, folders = load_pipes({"mine": tmp_path / "weights" / "mine"})
    files = record.save_inputs(question, tmp_path / "runs" / "studio")
    code = record.reproducing_code(question, pipes, folders, files)
    assert str(tmp_path) not in code and max(map(len, code.splitlines())) <= 92
    found = {}
    exec(code, found)
    answers = list(itertools.chain(*paint(pipes, question, never(), ignore)))[1:]
    for answer, again in zip(answers, found["images"]["mine"], strict=True):
        np.testing.assert_array_equal(answer.image, again)


def test_a_picture_that_came_from_a_file_is_not_written_again(question, tmp_path):
    files = record.save_inputs(question, tmp_path, origin="photo.jpg")
    assert str(files["image"]) == "photo.jpg"
    files = record.save_inputs(question, tmp_path, File("photo.jpg", b"as it came"))
    assert files["image"].read_bytes() == b"as it came"


def test_a_saved_answer_holds_its_round(pipe, question):
    pasted, answer = itertools.chain(
        *paint({"one": pipe}, question._replace(samples=1), never(), ignore))
    for one in (pasted, answer):
        data = record.png_with_settings(one)
        np.testing.assert_array_equal(Image.open(io.BytesIO(data)), one.image)
        made = record.read_round(File("one.png", data))
        np.testing.assert_array_equal(made.image, question.image)
        np.testing.assert_array_equal(made.hole, question.hole)
        np.testing.assert_array_equal(made.exemplar, question.exemplar)
    assert made.settings == dict(arm="one", guidance_scale=pipe.defaults()[0], steps=4,
                                 seed=5, softness=session.SOFTNESS)


def test_other_pictures_hold_no_round_and_a_broken_one_is_named(picture):
    assert record.read_round(File("a.png", pictures.png(picture(9, 9)))) is None
    assert record.read_round(File("a.png", b"no picture")) is None
    info = PngImagePlugin.PngInfo()
    info.add_text(record.CHUNK, "{}")
    data = pictures.png(picture(9, 9), pnginfo=info)
    with pytest.raises(ValueError, match="a.png: the settings"):
        record.read_round(File("a.png", data))


def test_a_saved_picture_is_read_back_and_never_overwrites_another(tmp_path, picture):
    first = pictures.save_png(picture(20, 30), tmp_path / "new", "a")
    second = pictures.save_png(picture(20, 31), tmp_path / "new", "a")
    assert first != second and first.name.startswith("a-") and first.suffix == ".png"
    np.testing.assert_array_equal(Image.open(first), picture(20, 30))
    assert pictures.save_png(picture(20, 30), tmp_path / "new", "a") == first


def test_pictures_are_shrunk_but_never_grown(picture):
    assert pictures.shrink(picture(300, 600), 200).size == (200, 100)
    assert pictures.shrink(np.zeros((20, 10, 3), np.uint8), 200).size == (10, 20)


def test_the_browser_gets_small_pictures_exactly_and_large_ones_short(picture):
    small = Image.open(io.BytesIO(pictures.encode(picture(100, 200))))
    np.testing.assert_array_equal(small, picture(100, 200))
    large = pictures.encode(picture(900, 1024))
    assert Image.open(io.BytesIO(large)).format == "JPEG" and len(large) < 300_000


def test_titles_name_the_arm_and_the_seed(picture):
    assert Answer("final", 3, picture(9, 9)).title == "final, seed 3"
    assert Answer("copy-paste", None, picture(9, 9)).title == "copy-paste"
