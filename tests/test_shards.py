"""Images in folders and shards: what was put in comes out, in any order."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pbe_lite.data.shards import Folder, Parquets, Tars, open_images


def content(i):
    return bytes([i]) * (100 + 17 * i)


def write_tar(path, numbers, mode="w", name="{:04d}.jpg"):
    with tarfile.open(path, mode) as tar:
        for i in numbers:
            for file, data in ((name.format(i), content(i)), (f"{i:04d}.json", b"{}")):
                info = tarfile.TarInfo(file)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def write_parquet(path, numbers, struct=False, rows=3):
    images = [content(i) for i in numbers]
    images = [{"bytes": image, "path": "x.jpg"} for image in images] if struct else images
    table = pa.table({"image_id": [f"{i:04d}" for i in numbers], "image": images})
    pq.write_table(table, path, row_group_size=rows)


def read(images, ids):
    """{id: bytes} of those that are there, read in an order of its own."""
    places = [array.to_pylist() for array in images.locate(pa.array(ids))]
    order = np.random.default_rng(0).permutation(len(ids))
    return {ids[i]: images.read(*(place[i] for place in places)) for i in order
            if places[0][i] is not None}


IDS = [f"{i:04d}" for i in range(20)]
EXPECTED = {f"{i:04d}": content(i) for i in range(20)}


# -------------------------------------------------------------------------- folders


@pytest.mark.parametrize("suffix", [".jpg", ""])
def test_files_are_found_by_their_id(tmp_path, suffix):
    for image_id, data in EXPECTED.items():
        (tmp_path / f"{image_id}{suffix}").write_bytes(data)
    assert read(Folder(tmp_path, suffix), IDS) == EXPECTED
    with pytest.raises(FileNotFoundError):
        Folder(tmp_path).read("nowhere.jpg")


# --------------------------------------------------------------------------- shards


@pytest.mark.parametrize("name", ["{:04d}.jpg", "train/deep/{:04d}.JPG", "./{:04d}.png"])
def test_tar_shards_are_read_from_anywhere(tmp_path, name):
    write_tar(tmp_path / "a.tar", range(12), name=name)
    write_tar(tmp_path / "b.tar", range(12, 20), name=name)
    images = Tars(tmp_path)
    assert read(images, IDS) == EXPECTED
    assert read(images, ["0003", "nobody", "0019"]).keys() == {"0003", "0019"}
    assert [path.name for path in images.files()] == ["a.tar", "b.tar"]


@pytest.mark.parametrize("struct", [False, True])
def test_parquet_shards_are_read_from_anywhere(tmp_path, struct):
    write_parquet(tmp_path / "a.parquet", range(12), struct)
    write_parquet(tmp_path / "b.parquet", range(12, 20), struct)
    assert read(Parquets(tmp_path), IDS) == EXPECTED


def test_a_damaged_shard_is_logged_and_the_others_are_read(tmp_path, caplog):
    write_tar(tmp_path / "a.tar", range(8))
    write_tar(tmp_path / "b.tar", range(8, 20))
    whole = (tmp_path / "b.tar").read_bytes()
    half = whole.index(content(14))
    (tmp_path / "b.tar").write_bytes(whole[:half])
    (tmp_path / "c.tar").write_bytes(b"no tar at all" * 100)
    found = read(Tars(tmp_path), IDS)
    assert {i: found[i] for i in IDS[:14]} == {i: EXPECTED[i] for i in IDS[:14]}
    assert not set(IDS[15:]) & found.keys()
    assert found.get("0014") in (None, b"")  # cut off: told when it is decoded
    assert "b.tar" in caplog.text or "0014" in found
    assert "c.tar" in caplog.text


def test_a_compressed_tar_cannot_be_read_from_anywhere(tmp_path):
    write_tar(tmp_path / "a.tar", range(3), "w:gz")
    with pytest.raises(ValueError, match=r"no image in the \*.tar files"):
        Tars(tmp_path).locate(pa.array(IDS))


def test_parquet_without_its_columns_is_named(tmp_path):
    pq.write_table(pa.table({"id": ["a"], "image": [b"x"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="a.parquet must have columns image_id and image"):
        Parquets(tmp_path).locate(pa.array(IDS))


# --------------------------------------------------------------------------- choice


def test_a_folder_is_taken_for_what_it_holds(tmp_path):
    for name in ("files", "tars", "parquets"):
        (tmp_path / name).mkdir()
    (tmp_path / "files" / "a.jpg").touch()
    write_tar(tmp_path / "tars" / "a.tar", range(2))
    write_parquet(tmp_path / "parquets" / "a.parquet", range(2))
    kinds = [type(open_images(tmp_path / name)) for name in ("files", "tars", "parquets")]
    assert kinds == [Folder, Tars, Parquets]
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        open_images(tmp_path / "nowhere")


def test_an_image_that_is_there_twice_is_none(tmp_path, caplog):
    """Two pictures of one name in two folders: whose boxes are whose?"""
    write_tar(tmp_path / "a.tar", range(12))
    write_tar(tmp_path / "b.tar", range(10, 20))
    found = read(Tars(tmp_path), IDS)
    assert found == {i: data for i, data in EXPECTED.items() if i not in ("0010", "0011")}
    assert "2 images are there more than once" in caplog.text and "0010" in caplog.text
