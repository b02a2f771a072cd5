"""Image files as people have them."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from course_lib import DataError
from course_lib.data.folder import folder
from course_lib.data.images import read_image

#: 3 rows of 4 gray values, all different.
GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOR = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=-1)


def written(path, image, **how):
    image.save(path, **how)
    return np.asarray(read_image(path))


def gray(array):
    return np.stack([array] * 3, axis=-1)


@pytest.mark.parametrize(
    "name", ["a.png", "A.PNG", "a b.bmp", "图.tif", "a.webp", "a.ppm"]
)
def test_usual_files(tmp_path, name):
    how = {"lossless": True} if name.endswith("webp") else {}
    assert (written(tmp_path / name, Image.fromarray(COLOR), **how) == COLOR).all()


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda x: x),
        (3, lambda x: x[::-1, ::-1]),
        (6, lambda x: np.rot90(x, -1)),
        (8, lambda x: np.rot90(x)),
        (2, lambda x: x[:, ::-1]),
    ],
)
def test_turned_as_the_camera_was_held(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = written(tmp_path / "a.png", Image.fromarray(COLOR), exif=exif)
    assert (found == turned(COLOR)).all()


@pytest.mark.parametrize(
    ("array", "want"),
    [
        (GRAY.astype(np.uint16) * 257, GRAY),
        (GRAY.astype(np.int32) * 257, GRAY),
        ((GRAY / 255).astype(np.float32), GRAY),
        (GRAY.astype(np.float32), GRAY),
        (GRAY > 100, np.where(GRAY > 100, 255, 0)),
        (GRAY, GRAY),
    ],
)
def test_other_depths(tmp_path, array, want):
    found = written(tmp_path / "a.tif", Image.fromarray(array))
    assert (found == gray(want)).all()


def test_what_is_transparent_is_laid_on_white(tmp_path):
    alpha = np.where(GRAY > 100, 255, 0).astype(np.uint8)
    want = np.where(alpha[..., None] > 0, COLOR, 255)
    rgba = Image.fromarray(np.dstack([COLOR, alpha]))
    assert (written(tmp_path / "rgba.png", rgba) == want).all()
    la = Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(alpha)])
    found = written(tmp_path / "la.png", la)
    assert (found == gray(np.where(alpha > 0, GRAY, 255))).all()
    palette = Image.fromarray(GRAY).convert("P")
    found = written(tmp_path / "p.png", palette, transparency=0)
    assert (found[0, 0] == 255).all()
    assert (found[1:] == gray(GRAY)[1:]).all()


def test_four_colors_of_print(tmp_path):
    found = written(tmp_path / "a.tif", Image.fromarray(COLOR).convert("CMYK"))
    assert np.abs(found.astype(int) - COLOR).max() <= 1


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((3, 4), value, np.uint8)) for value in (10, 200)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert (np.asarray(read_image(path)) == 10).all()


def encoded(image, kind):
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


def bad_length():
    """A PNG with one wrong byte, in the length of a chunk."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    png = encoded(Image.fromarray(noise), "PNG")
    at = png.index(b"IDAT") - 4
    (length,) = struct.unpack(">I", png[at : at + 4])
    return png[:at] + struct.pack(">I", length - 400) + png[at + 4 :]


def bomb():
    """A small file that says it has ten thousand million pixels."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


DAMAGED = {
    "empty": lambda: b"",
    "text": lambda: b"hello",
    "half": lambda: encoded(Image.fromarray(np.tile(COLOR, (20, 20, 1))), "JPEG")[:900],
    "length": bad_length,
    "number": lambda: b"P6\n2\xdf 2\n255\n" + bytes(12),
    "bomb": bomb,
    "large": lambda: encoded(Image.new("1", (20_000, 10_000)), "PNG"),
    "negative": lambda: encoded(Image.fromarray(GRAY.astype(np.float32) - 50), "TIFF"),
    "endless": lambda: encoded(
        Image.fromarray(np.full((2, 2), np.inf, np.float32)), "TIFF"
    ),
    "deep": lambda: encoded(
        Image.fromarray(np.full((2, 2), 1 << 20, np.int32)), "TIFF"
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_named_with_the_path(tmp_path, kind):
    path = tmp_path / "some image.png"
    path.write_bytes(DAMAGED[kind]())
    with pytest.raises(DataError, match=r"some image\.png"):
        read_image(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"no\.png is not an image that can be read"):
        read_image(tmp_path / "no.png")


def test_nothing_is_said_of_odd_tags(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[65000] = "odd"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = written(tmp_path / "a.tif", Image.fromarray(GRAY), tiffinfo=tags)
    assert (found == gray(GRAY)).all()


@pytest.fixture
def root(tmp_path):
    """Two classes of two images each, for training and validation."""
    for part in ("train", "val"):
        for name in ("cat", "犬 2"):
            where = tmp_path / part / name
            where.mkdir(parents=True)
            for number in range(2):
                Image.fromarray(COLOR).save(where / f"{number}.PNG")
    return tmp_path


def test_names_of_any_script(root):
    data = folder(str(root))
    assert data.classes == ("cat", "犬 2")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [4] * 3


def test_hidden_folders_and_files_are_none(root):
    for part in ("train", "val"):
        (root / part / ".ipynb_checkpoints").mkdir()
        (root / part / "cat/.hidden").mkdir()
        for where in (".ipynb_checkpoints", "cat/.hidden", "cat"):
            Image.fromarray(COLOR).save(root / part / where / ".0.png")
    data = folder(root)
    assert data.classes == ("cat", "犬 2")
    assert len(data.train) == 4


def test_a_link_to_the_folder_above(root):
    (root / "train/cat/again").symlink_to(root / "train/cat")
    (root / "train/cat/up").symlink_to(root / "train")
    assert len(folder(root).train) == 6  # those of the other class, too, once


def test_what_is_left_out_is_said_once_with_a_count(root):
    for name in ("notes.txt", "Thumbs.db", "cat.csv"):
        (root / "train/cat" / name).write_text("text")
    with pytest.warns(
        UserWarning, match=r"train: 3 files .* such as Thumbs\.db"
    ) as said:
        folder(root)
    assert len(said) == 1


def test_other_classes_in_another_part(root):
    (root / "val/cat").rename(root / "val/cats")
    with pytest.raises(DataError, match="train and val differ in cat, cats"):
        folder(root)


def test_an_empty_class(root):
    for part in ("train", "val"):
        (root / part / "dog").mkdir()
    with pytest.raises(DataError, match="class 'dog' is empty"):
        folder(root)


def test_one_class(root):
    for file in (root / "train/cat").iterdir():
        file.unlink()
    (root / "train/cat").rmdir()
    with pytest.raises(DataError, match="two classes or more, got 犬 2"):
        folder(root)


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "train").write_text("text")
    with pytest.raises(DataError, match="train is not there"):
        folder(tmp_path)


@pytest.mark.parametrize("workers", [-1, 1.5, "2"])
def test_workers(root, workers):
    with pytest.raises(ValueError, match="workers must be"):
        folder(root, workers=workers)


def test_a_folder_that_may_not_be_read(root, monkeypatch):
    def refused(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(root), "iterdir", refused)
    with pytest.raises(DataError, match=r"train cannot be read: .*denied"):
        folder(root)
