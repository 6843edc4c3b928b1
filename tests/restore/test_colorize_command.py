"""restore colorize: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from restore import color
from restore.colorizer import Colorizer
from restore.image import Image, read, write


@pytest.fixture
def grey(tmp_path):
    """A grey photo, old.png, in the working folder: a ramp from dark to light."""
    plane = np.linspace(60, 220, 128).astype(np.uint8)[None].repeat(96, axis=0)
    write(Image(plane), tmp_path / "old.png")
    return plane


def test_a_grey_photo_gets_colour_and_keeps_its_luma(run_painter, grey):
    done = run_painter("colorize", "old.png")
    assert done.exit_code == 0
    assert "old.png: colours computed -> old-colorized.png" in done.stderr
    made = read(Path("old-colorized.png"))
    assert b"They are a guess, not a record." in (made.xmp or b"")
    lab = color.to_lab(made.pixels)
    assert np.abs(lab[..., 0] - color.luma_of(grey)).max() <= 0.5
    # The model's one answer.
    np.testing.assert_allclose(lab[48, 64, 1:], (20, 30), atol=1)


def test_a_photo_in_colour_is_copied_and_said_so(run_painter, make_photo):
    write(Image(make_photo(96, 128)), Path("bright.png"))
    done = run_painter("colorize", "bright.png", "-o", "out.png")
    assert done.exit_code == 0
    assert "in colour already (--force takes its colours away and computes new ones), left as it is" in done.stderr
    assert Path("out.png").read_bytes() == Path("bright.png").read_bytes()
    forced = run_painter("colorize", "bright.png", "-o", "forced.png", "--force")
    assert "colours computed" in forced.stderr


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_metadata_and_format_stay(run_painter, grey, suffix):
    picture = PillowImage.fromarray(grey)
    exif = PillowImage.Exif()
    exif[0x010E] = "grandmother, 1931"
    picture.save(f"old.{suffix}", exif=exif.tobytes(), dpi=(600, 600))
    assert run_painter("colorize", f"old.{suffix}", "-o", f"new.{suffix}").exit_code == 0
    made = read(Path(f"new.{suffix}"))
    assert b"grandmother, 1931" in (made.exif or b"")
    assert made.pixels.shape == (96, 128, 3)
    assert b"They are a guess" in (made.xmp or b"")


def test_16_bits_stay_16_bits(run_painter, grey):
    write(Image(grey.astype(np.uint16) * 257 + 3), Path("scan.tif"))
    assert run_painter("colorize", "scan.tif", "--no-note").exit_code == 0
    made = read(Path("scan-colorized.tif"))
    assert made.pixels.dtype == np.uint16
    assert made.xmp is None


def test_hints_by_hand_and_from_a_picture_count(run_painter, grey):
    dots = np.zeros((96, 128, 4), np.uint8)
    dots[40:50, 20:30] = (60, 120, 190, 255)
    PillowImage.fromarray(dots).save("dots.png")
    done = run_painter("colorize", "old.png", "-o", "out.png", "--hint", "100,48=#3c78be", "--hints", "dots.png")
    assert done.exit_code == 0
    lab = color.to_lab(read(Path("out.png")).pixels)
    blue = color.to_lab(np.array([[(60, 120, 190)]], np.uint8))[0, 0, 1:]
    for x, y in ((100, 48), (25, 45)):
        wanted = color.into_gamut(np.array([[[lab[y, x, 0], *blue]]]))[0, 0, 1:]
        np.testing.assert_allclose(lab[y, x, 1:], wanted, atol=2.5)
    # Between the two, and of another luma: nearer to the model's answer than to the hints' b* of -42.
    np.testing.assert_allclose(lab[5, 64, 1:], (20, 30), atol=12)


def test_candidates_are_numbered_and_differ(run_painter, grey):
    done = run_painter("colorize", "old.png", "-o", "out.png", "--candidates", "2")
    assert done.exit_code == 0
    first, second = (color.to_lab(read(Path(f"out-{n}.png")).pixels) for n in (1, 2))
    assert not Path("out.png").exists()
    np.testing.assert_allclose(first[..., 0], second[..., 0], atol=0.6)
    assert np.abs(first[..., 1] - second[..., 1]).mean() > 20


def test_a_photo_in_colour_has_no_candidates(run_painter, make_photo):
    write(Image(make_photo(60, 80)), Path("new.png"))
    result = run_painter("colorize", "new.png", "-o", "out.png", "--candidates", "3")
    assert result.exit_code == 0
    assert [path.name for path in Path().glob("out*")] == ["out-1.png"]


def test_a_picture_is_searched_for_candidates_once(run_painter, grey, monkeypatch):
    searched = []
    search = Colorizer.candidates

    def counted(self, image, count, **options):
        searched.append(image.pixels[0, 0].item())
        return search(self, image, count, **options)

    monkeypatch.setattr(Colorizer, "candidates", counted)
    first, second = (np.full((60, 80), level, np.uint8) for level in (90, 120))
    for name, pixels in (("a", first), ("b", second)):
        write(Image(pixels), Path(f"pair/{name}.png"))
    assert run_painter("colorize", "pair", "-o", "out", "--candidates", "3").exit_code == 0
    assert searched == [90, 120]
    assert len(list(Path("out").iterdir())) == 6


def test_candidates_of_a_picture_on_standard_input_are_made_of_one_reading(run_painter, grey):
    for number in ("2", "3"):
        done = run_painter(
            "colorize", "-", "-o", f"{number}.png", "--candidates", number, stdin=Path("old.png").read_bytes()
        )
        assert done.exit_code == 0, done.stderr
        assert len(list(Path().glob(f"{number}-?.png"))) == int(number)
    for name in ("2-2.png", "3-2.png"):
        # As the candidate of the same picture in a file: the model's answer to any palette.
        np.testing.assert_allclose(color.to_lab(read(Path(name)).pixels)[48, 100, 1:], (-20, -30), atol=1)


def test_earlier_candidates_are_no_inputs(run_painter, grey):
    write(Image(np.full((60, 80), 90, np.uint8)), Path("album/a.png"))
    assert run_painter("colorize", "album", "--candidates", "2").exit_code == 0
    assert run_painter("colorize", "album").exit_code == 0
    assert sorted(path.name for path in Path("album").iterdir()) == [
        "a-colorized-1.png", "a-colorized-2.png", "a-colorized.png", "a.png"
    ]  # fmt: skip


def test_like_takes_the_palette_of_a_photo(run_painter, grey, make_photo):
    write(Image(make_photo(96, 128)), Path("like.png"))
    assert run_painter("colorize", "old.png", "-o", "out.png", "--like", "like.png").exit_code == 0
    # What the model answers with any palette; bright enough for sRGB to show it.
    np.testing.assert_allclose(color.to_lab(read(Path("out.png")).pixels)[48, 100, 1:], (-20, -30), atol=1)


def test_json_says_what_became_of_each_file(run_painter, grey):
    done = run_painter("colorize", "old.png", "--json")
    row = json.loads(done.stdout)
    assert (row["source"], row["output"], row["status"]) == ("old.png", "old-colorized.png", "done")
    assert row["model"] == "colorize-fast"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hint", "128,5=#fff"], "the hint at 128,5 lies outside the picture of 128 x 96 pixels"),
        (["--hint", "red"], "--hint red is not X,Y=#rrggbb"),
        (["--hints", "old.png"], "the hints have no transparency"),
        (["--like", "gone.png"], "Error: --like gone.png: no such file"),
        (["--hints", "gone.png"], "--hints gone.png: no such file"),
        (["--like", "old.png"], "--like old.png: the picture is grey, so it has no palette"),
        (["--strength", "2"], "less than or equal to 1.5"),
        (["--candidates", "0"], "greater than or equal to 1"),
        (["--candidates", "2", "--like", "like.png"], "--like is one palette, and --candidates differ in theirs."),
        (["--model", "gone.onnx"], "gone.onnx"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(run_painter, grey, options, said):
    done = run_painter("colorize", "old.png", "-o", "out.png", *options)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("out.png").exists()


def test_hints_for_several_pictures_are_refused(run_painter, grey):
    Path("two.png").write_bytes(Path("old.png").read_bytes())
    done = run_painter("colorize", "old.png", "two.png", "-o", "out", "--hint", "1,1=#fff")
    assert done.exit_code == 2
    assert "hints are places in one picture, and several were given" in done.stderr


def test_a_stream_has_no_candidates(run_painter, grey):
    done = run_painter("colorize", "old.png", "-o", "-", "--candidates", "2")
    assert done.exit_code == 2
    assert "several versions need a file's name" in done.stderr


def test_candidates_never_replace_what_is_there(run_painter, grey):
    Path("out-2.png").write_text("mine")
    done = run_painter("colorize", "old.png", "-o", "out.png", "--candidates", "3")
    assert done.exit_code == 2
    assert "out-2.png is there already" in done.stderr
    assert not Path("out-1.png").exists()
