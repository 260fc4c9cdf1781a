"""Contact sheets: questions and results, in the benchmark's order or blind."""

import json

import numpy as np
from PIL import Image

from pbe_lite.evaluation import contact_sheet
from pbe_lite.evaluation.benchmark import make_pair


def test_a_sheet_shows_question_and_result_in_the_benchmarks_order():
    pairs = contact_sheet.first_pairs(3)
    assert [p.kind for p in pairs] == [make_pair(i).kind for i in (0, 2, 4)]
    results = [p.answer for p in pairs]
    sheet = np.asarray(contact_sheet.contact_sheet(pairs, results, columns=3))
    source, exemplar = contact_sheet.shown(pairs[0])
    np.testing.assert_array_equal(sheet[:128, :128], source)
    np.testing.assert_array_equal(sheet[:128, 129:257], exemplar)
    np.testing.assert_array_equal(sheet[:128, 258:386], results[0])
    assert (source[pairs[0].hole] == 128).all()


def test_a_blind_sheet_is_shuffled_and_has_its_key():
    pairs = contact_sheet.first_pairs(6)
    results = [np.full((128, 128, 3), 10 * i, np.uint8) for i in range(6)]
    sheet, key = contact_sheet.blind_sheet(pairs, results, seed=3, columns=6)
    shown = [int(np.asarray(sheet)[5, i * 132 + 5, 0]) // 10 for i in range(6)]
    assert sorted(shown) == list(range(6)) != shown
    assert key == [pairs[i].kind for i in shown]


def test_the_command_writes_a_sheet_and_with_blind_its_key(pipe, tmp_path, monkeypatch):
    pipe.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(contact_sheet, "make_pair", lambda i: make_pair(i, 64))
    call = ["--model", str(tmp_path / "model"), "--pairs", "2", "--steps", "1"]
    contact_sheet.main([*call, "--out", str(tmp_path / "new" / "sheet.png")])
    assert Image.open(tmp_path / "new" / "sheet.png").size == (4 * (3 * 64 + 2 + 4), 68)
    contact_sheet.main([*call, "--blind", "1", "--out", str(tmp_path / "blind.png")])
    assert sorted(json.loads((tmp_path / "blind.json").read_text())) == sorted(
        make_pair(i, 64).kind for i in (0, 2))
