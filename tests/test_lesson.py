"""First cells and questions of the lessons."""

import subprocess
import sys

import pytest

from pbe_lite import lesson


def test_the_budget_is_the_profiles(monkeypatch):
    for name, expected in (("smoke", 1), ("laptop", 2), ("gpu", 3)):
        monkeypatch.setenv("PBE_PROFILE", name)
        assert lesson.budget(smoke=1, laptop=2, gpu=3) == expected
    with pytest.raises(ValueError, match="smoke, laptop and gpu"):
        lesson.budget(smoke=1, laptop=2)


def test_a_question_keeps_its_reason_folded_and_tells_right_from_wrong():
    asked = lesson.predict("Which one <copies>?", ["naive", "final"], "naive",
                           "It sees all.")
    html = asked._repr_html_()
    shown, folded = html.split("<details>")
    assert "It sees all." not in shown and "It sees all." in folded
    assert "&lt;copies&gt;" in shown and shown.count('type="radio"') == 2
    first, second = shown.split("<label>")[1:]
    assert ">&nbsp; yes<" in first and "not so" in second
    assert "( ) naive" in repr(asked) and "It sees all." not in repr(asked)


def test_two_questions_do_not_share_their_buttons():
    asked = lesson.predict("?", ["a", "b"], "a")
    assert asked._repr_html_().split('name="')[1][:20] \
        != asked._repr_html_().split('name="')[1][:20]


def test_an_answer_that_is_no_option_is_refused():
    with pytest.raises(ValueError, match="answer must be one of the options"):
        lesson.predict("?", ["a", "b"], "c")


def test_setup_silences_bars_that_were_imported_before():
    code = ("from tqdm.auto import tqdm; from pbe_lite import lesson; lesson.setup(); "
            "lesson.setup()\nprint(sum(tqdm(range(4), disable=False)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "6\n" and "it/s" not in done.stderr, done.stderr
