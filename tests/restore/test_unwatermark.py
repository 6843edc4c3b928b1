"""Taking marks off: what is found, what stays bit for bit, the user's mask, large pictures, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from restore import cli, store
from restore.engine import open_model
from restore.errors import BadOption
from restore.image import Image, read
from restore.masks import read_mask

#: Grey, as the model `white_is_mark` paints it: 0.5 of 255, rounded to even.
HALF = 128


@pytest.fixture
def models(white_is_mark, tmp_path, monkeypatch):
    """A folder in which that model is the only one."""
    folder = tmp_path / "models"
    folder.mkdir()
    white_is_mark(folder)
    monkeypatch.setenv("RESTORE_MODELS", str(folder))
    monkeypatch.setattr(store, "BUNDLED", tmp_path / "no-models")
    return folder


@pytest.fixture
def unwatermark(models):
    return open_model("unwatermark", device="cpu")


def marked_photo(height: int = 40, width: int = 60, dtype: type = np.uint8) -> Image:
    """Noise of 10 to 200 (of 255) with a white square of 8 x 10 pixels, rows 4-11 and columns 20-29."""
    unit = np.iinfo(dtype).max // 255
    pixels = (np.random.default_rng(0).integers(10, 201, (height, width, 3)) * unit).astype(dtype)
    pixels[4:12, 20:30] = np.iinfo(dtype).max
    return Image(pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile", [None, 16])
def test_the_mark_goes_and_all_else_stays_bit_for_bit(unwatermark, dtype, tile):
    photo = marked_photo(dtype=dtype)
    done = unwatermark(photo, tile=tile)
    square = np.zeros((40, 60), bool)
    square[4:12, 20:30] = True
    np.testing.assert_array_equal(done.mask, 255 * square.astype(np.uint8))
    np.testing.assert_array_equal(done.image.pixels[~square], photo.pixels[~square])
    assert set(done.image.pixels[square].flat) == {HALF if dtype == np.uint8 else 32768}
    # 80 of 2,400 pixels.
    assert done.found == {"marked": pytest.approx(80 / 2400)}


def test_a_photo_without_a_mark_comes_back_as_the_same_object(unwatermark):
    photo = Image(np.full((20, 30, 3), 100, np.uint8))
    done = unwatermark(photo)
    assert not done.changed(photo)
    assert done.found == {"marked": 0.0}
    assert not done.mask.any()


def test_inside_a_users_mask_and_nowhere_else_something_changes(unwatermark):
    photo = marked_photo()
    brushed = np.zeros((40, 60), np.uint8)
    brushed[30:33, 5:9] = 255
    done = unwatermark(photo, mask=brushed, tile=16)
    np.testing.assert_array_equal(done.mask, brushed)
    assert set(done.image.pixels[brushed > 0].flat) == {HALF}
    np.testing.assert_array_equal(done.image.pixels[brushed == 0], photo.pixels[brushed == 0])


def test_a_mask_of_another_size_is_refused(unwatermark):
    with pytest.raises(BadOption, match="the mask has 30 x 20 pixels, the upright picture 60 x 40"):
        unwatermark(marked_photo(), mask=np.zeros((20, 30), bool))


def test_a_model_without_marks_takes_no_mask(smoother):
    denoise = open_model(smoother / "denoise-fast.onnx", device="cpu")
    with pytest.raises(BadOption, match="denoise-fast takes no mask: it is for the task denoise"):
        denoise(marked_photo(), mask=np.zeros((40, 60), bool))


@pytest.fixture
def small_sighted(white_is_mark, tmp_path):
    """The same model, but it needs the whole picture, at most 20 px long."""
    return open_model(white_is_mark(tmp_path, reach=None, working_size=20), device="cpu")


def test_a_large_photo_is_looked_at_small_and_changed_at_its_own_size(small_sighted):
    pixels = np.full((30, 40, 3), 100, np.uint8)
    pixels[10:20, 10:30] = 255
    photo = Image(pixels)
    done = small_sighted(photo)
    # Halved, the square covers whole small pixels; bilinear, its rim fades over one of them, 2 px wide.
    assert done.mask[11:19, 11:29].min() > 0
    far = np.ones((30, 40), bool)
    far[8:22, 8:32] = False
    assert not done.mask[far].any()
    np.testing.assert_array_equal(done.image.pixels[done.mask == 0], pixels[done.mask == 0])
    assert set(done.image.pixels[13:17, 13:27].flat) == {HALF}


def test_detail_that_the_small_picture_cannot_hold_stays(small_sighted):
    pixels = np.full((30, 40, 3), 255, np.uint8)
    pixels[10:20, 16:22:2] = 245
    done = small_sighted(Image(pixels))
    # The small picture's mean of 250 becomes 127.5: every pixel of the stripe loses 122.5, light and dark alike.
    np.testing.assert_allclose(done.image.pixels[14, 17:20, 0], [255 - 122.5, 245 - 122.5, 255 - 122.5], atol=1)


def test_a_small_photo_is_looked_at_as_it_is(small_sighted):
    photo = marked_photo(20, 12)
    photo.pixels[3, 3] = 255
    done = small_sighted(photo)
    np.testing.assert_array_equal(done.mask > 0, (photo.pixels == 255).all(axis=2))


def test_a_users_mask_holds_to_the_pixel_on_a_large_photo_too(small_sighted):
    photo = Image(np.full((30, 40, 3), 100, np.uint8))
    brushed = np.zeros((30, 40), bool)
    brushed[11:18, 7:24] = True
    done = small_sighted(photo, mask=brushed)
    np.testing.assert_array_equal(done.mask > 0, brushed)
    np.testing.assert_array_equal(done.image.pixels[~brushed], photo.pixels[~brushed])
    assert set(done.image.pixels[13:16, 10:21].flat) == {HALF}


def test_a_soft_photo_is_looked_at_smaller_still(white_is_mark, tmp_path):
    unwatermark = open_model(white_is_mark(tmp_path, reach=None, working_size=80, soft_size=20), device="cpu")
    slope = np.linspace(0, 255, 160).astype(np.uint8)
    soft = Image(np.broadcast_to(slope[None, :, None], (120, 160, 3)).copy())
    sharp = Image(soft.pixels.copy())
    sharp.pixels[40:80, 20:60:4] = 0
    # From white down, the first small pixel below 0.9 ends the mask, and bilinear it fades over that pixel's width.
    first = [int(np.argmax(unwatermark(photo).mask[100] > 0)) for photo in (soft, sharp)]
    assert first == [140, 143]


def run(*args: str):
    return CliRunner().invoke(cli.app, ["unwatermark", *args], prog_name="restore")


@pytest.fixture
def photo(models, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    PillowImage.fromarray(marked_photo().pixels).save("photo.png")
    return tmp_path / "photo.png"


def test_the_command_writes_photo_and_mask_and_says_how_much_was_marked(photo):
    result = run("photo.png", "-o", "out.png", "--mask", "mask.png")
    assert result.exit_code == 0, result.stderr
    # 3.33 %.
    assert result.stderr.startswith("photo.png: mark on 3.3 % of it taken off -> out.png")
    mask = np.asarray(PillowImage.open("mask.png"))
    assert mask.shape == (40, 60)
    before, after = read(Path("photo.png")).pixels, read(Path("out.png")).pixels
    np.testing.assert_array_equal(after[mask == 0], before[mask == 0])
    assert set(after[mask > 0].flat) == {HALF}


def test_the_mask_that_was_written_may_be_given_back(photo):
    run("photo.png", "-o", "out.png", "--mask", "mask.png")
    assert run("photo.png", "-o", "again.png", "--mask-in", "mask.png").exit_code == 0
    np.testing.assert_array_equal(read(Path("again.png")).pixels, read(Path("out.png")).pixels)


def test_json_tells_the_share(photo):
    row = json.loads(run("photo.png", "-o", "out.png", "--json").stdout)
    assert row["found"] == {"marked": round(80 / 2400, 6)}
    assert row["status"] == "done"


def test_a_photo_without_a_mark_is_copied_byte_for_byte_and_that_is_said(photo):
    PillowImage.fromarray(np.full((9, 9, 3), 80, np.uint8)).save("plain.jpg", quality=80)
    result = run("plain.jpg", "-o", "out.jpg", "--mask", "mask.png")
    assert "plain.jpg: no mark found, left as it is" in result.stderr
    assert Path("out.jpg").read_bytes() == Path("plain.jpg").read_bytes()
    assert not np.asarray(PillowImage.open("mask.png")).any()


def test_several_photos_give_several_masks_in_a_folder(photo):
    PillowImage.fromarray(marked_photo().pixels).save("other.png")
    assert run("photo.png", "other.png", "-o", "out", "--mask", "masks").exit_code == 0
    assert sorted(p.name for p in Path("masks").iterdir()) == ["other-mask.png", "photo-mask.png"]


def test_masks_of_a_folder_lie_as_its_pictures_do(photo):
    for name in ("in/a.png", "in/a.jpg", "in/s/a.png", "in/b.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(marked_photo().pixels).save(name)
    result = run("in", "-o", "out", "--mask", "masks")
    assert result.exit_code == 0, result.stderr
    made = sorted(path.relative_to("masks").as_posix() for path in Path("masks").rglob("*.*"))
    assert made == ["a.jpg-mask.png", "a.png-mask.png", "b-mask.png", "s/a-mask.png"]
    # What is done does not change what the others are called.
    Path("out/a.jpg").unlink()
    Path("masks/a.jpg-mask.png").unlink()
    assert run("in", "-o", "out", "--mask", "masks", "--skip-existing").exit_code == 0
    assert sorted(path.relative_to("masks").as_posix() for path in Path("masks").rglob("*.*")) == made


def test_a_folder_with_one_picture_has_a_folder_of_masks(photo):
    Path("in").mkdir()
    photo.rename("in/a.png")
    assert run("in", "-o", "out", "--mask", "masks").exit_code == 0
    assert [path.name for path in Path("masks").iterdir()] == ["a-mask.png"]
    assert "--mask m.png: several masks need a folder" in run("in", "-o", "new", "--mask", "m.png").stderr


def test_a_mask_without_a_suffix_is_a_folder_as_an_output_is(photo):
    assert run("photo.png", "-o", "out", "--mask", "masks").exit_code == 0
    assert Path("masks/photo-mask.png").exists()


def test_a_certainty_for_a_mask_of_the_users_is_refused(photo):
    PillowImage.new("L", (60, 40), 255).save("brushed.png")
    result = run("photo.png", "-o", "out.png", "--mask-in", "brushed.png", "--certainty", "0.5")
    assert result.exit_code == 2
    assert "--certainty is for finding a mark, and --mask-in says where it is" in result.stderr


def test_a_run_that_was_stopped_between_mask_and_picture_goes_on(photo):
    PillowImage.fromarray(marked_photo().pixels).save("other.png")
    Path("masks").mkdir()
    Path("out").mkdir()
    for name in ("masks/photo-mask.png", "out/other.png", "masks/other-mask.png"):
        Path(name).write_text("before")
    result = run("photo.png", "other.png", "-o", "out", "--mask", "masks", "--skip-existing")
    assert result.exit_code == 0, result.stderr
    assert np.asarray(PillowImage.open("masks/photo-mask.png")).any()
    # Its picture is done.
    assert Path("masks/other-mask.png").read_text() == "before"


def test_a_mask_is_replaced_where_the_picture_goes_to_standard_output(photo):
    Path("mask.png").write_text("before")
    assert run("photo.png", "-o", "-", "--mask", "mask.png").exit_code == 2
    assert run("photo.png", "-o", "-", "--mask", "mask.png", "--overwrite").exit_code == 0
    assert np.asarray(PillowImage.open("mask.png")).any()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("photo.png other.png -o out --mask here --overwrite", "photo-mask.png: a folder of this name is in the way"),
        ("photo.png -o out.png --mask mask.jpg", "--mask mask.jpg: such a file would blur the mask. Use .png"),
        ("photo.png -o out.png --mask mask.gif", "Error: --mask mask.gif: '.gif' files cannot be written."),
        ("photo.png -o out.png --mask photo.png", "--mask photo.png: the same file as an input or an output"),
        ("photo.png -o out.png --mask out.png", "--mask out.png: the same file as an input or an output"),
        ("photo.png -o out.png --mask old.png", "old.png is there already. Replace it with --overwrite"),
        ("photo.png other.png -o out --mask m.png", "--mask m.png: several masks need a folder"),
        ("photo.png -o out.png --mask-in gone.png", "--mask-in gone.png: no such file"),
    ],
)
def test_a_mask_that_cannot_be_is_refused_before_any_work(photo, args, message):
    for name in ("old.png", "other.png"):
        PillowImage.fromarray(marked_photo().pixels).save(name)
    Path("here/photo-mask.png").mkdir(parents=True)
    result = run(*args.split())
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("out.png").exists()


def test_a_mask_that_does_not_fit_fails_that_photo_alone(photo):
    PillowImage.fromarray(marked_photo(20, 40).pixels).save("small.png")
    PillowImage.fromarray(np.full((40, 60), 255, np.uint8)).save("white.png")
    result = run("small.png", "photo.png", "-o", "out", "--mask-in", "white.png")
    assert result.exit_code == 1
    assert "small.png: the mask has 60 x 40 pixels, the upright picture 40 x 20" in result.stderr
    assert [p.name for p in Path("out").iterdir()] == ["photo.png"]


def test_a_mask_is_what_is_white_and_not_transparent(tmp_path):
    levels = np.zeros((2, 3, 4), np.uint8)
    levels[0, 0] = (255, 255, 255, 255)
    levels[0, 1] = (255, 255, 255, 0)
    levels[0, 2] = (100, 100, 100, 255)
    PillowImage.fromarray(levels, "RGBA").save(tmp_path / "brush.png")
    assert read_mask(tmp_path / "brush.png").tolist() == [[True, False, False], [False, False, False]]
