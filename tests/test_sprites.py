"""The pictures of the miniature world's objects, and the script that makes them."""

import importlib.util
import io
import tarfile

from PIL import Image

from pbe_lite.config import DATA, SPRITES
from pbe_lite.data.tabletop import kind_names, sprite_files


def test_every_picture_is_listed_and_every_listed_picture_is_there():
    files = list(sprite_files().values())
    assert sorted(files) == sorted(p.name for p in SPRITES.iterdir())
    for file in files:
        with Image.open(SPRITES / file) as sprite:
            assert sprite.format == "WEBP" and "A" in sprite.getbands(), file
            assert max(sprite.size) == 256


def test_a_sprite_has_one_name_and_the_kinds_come_first():
    assert len(sprite_files()) == len(set(sprite_files().values())) == 381
    assert list(sprite_files())[:48] == kind_names()


def test_make_sprites_makes_what_is_shipped(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("make_sprites", DATA / "make_sprites.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with tarfile.open(tmp_path / "npm.tgz", "w") as tar:
        for i, code in enumerate(script.CODEPOINTS):
            raw = (SPRITES / f"{code}.webp").read_bytes()
            # the package has some under their code alone, some with a variation selector
            info = tarfile.TarInfo(f"package/assets/{code}{'-fe0f' * (i % 7 == 0)}.webp")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    monkeypatch.setattr("sys.argv", ["", str(tmp_path / "npm.tgz"), "--out", str(tmp_path)])
    script.main()
    assert (tmp_path / "sprites.csv").read_text() == (DATA / "sprites.csv").read_text()
    made = {p.name: p.read_bytes() for p in (tmp_path / "sprites").iterdir()}
    assert made == {p.name: p.read_bytes() for p in SPRITES.iterdir()}
