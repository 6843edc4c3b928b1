"""Hints and palettes as a network takes them, and what becomes of its guess."""

from __future__ import annotations

import numpy as np
import pytest

from restore import color
from restore.chroma import (
    Hint,
    check_hints,
    guess,
    hints_in,
    palette_from,
    working_shape,
)
from restore.errors import BadOption
from restore.image import Image


def constant(a: float, b: float):
    """A network that gives every place the same chroma, and what it was fed last."""
    fed: dict[str, np.ndarray] = {}

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        fed.clear()
        fed.update(inputs)
        height, width = inputs["image"].shape[2:]
        return {"ab": np.broadcast_to(np.array([a, b], np.float32)[None, :, None, None], (1, 2, height, width))}

    return run, fed


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("410,220=#7b2d26", Hint(410, 220, (0x7B, 0x2D, 0x26))),
        (" 0 , 0 = 7B2D26 ", Hint(0, 0, (0x7B, 0x2D, 0x26))),
        ("1,2=#f80", Hint(1, 2, (0xFF, 0x88, 0x00))),
    ],
)
def test_a_hint_is_a_place_and_a_colour(text, hint):
    assert Hint.parse(text) == hint


@pytest.mark.parametrize("text", ["", "410=#7b2d26", "410,220", "410,220=red", "-1,2=#fff", "1,2=#ffff", "1.5,2=#fff"])
def test_what_is_no_hint_is_refused_with_an_example(text):
    with pytest.raises(BadOption, match="is not X,Y=#rrggbb, as in --hint 410,220=#7b2d26"):
        Hint.parse(text)


@pytest.mark.parametrize(("x", "y"), [(30, 0), (0, 20), (-1, 0)])
def test_a_hint_outside_the_picture_is_refused(x, y):
    with pytest.raises(BadOption, match=f"the hint at {x},{y} lies outside the picture of 30 x 20 pixels"):
        check_hints([Hint(0, 0, (1, 2, 3)), Hint(x, y, (1, 2, 3))], height=20, width=30)


def test_the_working_size_is_the_longer_side_and_nothing_is_enlarged():
    assert working_shape(3000, 4000, 256) == (192, 256)
    assert working_shape(10, 20, 256) == (10, 20)
    assert working_shape(1, 10_000, 256) == (1, 256)


def test_the_network_sees_the_luma_as_grey_and_no_hint():
    run, fed = constant(0, 0)
    luma = np.full((8, 12), 53.585, np.float32)
    guess(run, luma, longest=256)
    # sRGB grey 128 of 255 has L* 53.585.
    np.testing.assert_allclose(fed["image"], 128 / 255, atol=1e-4)
    assert fed["image"].shape == (1, 3, 8, 12)
    assert not fed["hints"].any()
    assert fed["use_palette"].tolist() == [0]


def test_strength_scales_the_guess_and_not_a_hint():
    run, _ = constant(20, -10)
    luma = np.full((64, 64), 50, np.float32)
    np.testing.assert_allclose(guess(run, luma, longest=256, strength=0.5).ab[5, 5], (10, -5))
    hint = Hint(32, 32, (180, 90, 60))
    met = color.to_lab(np.array([[hint.rgb]], np.uint8))[0, 0, 1:]
    for strength in (0.0, 1.5):
        found = guess(run, luma, longest=256, strength=strength, hints=[hint]).ab
        np.testing.assert_allclose(found[32, 32], met, atol=0.01)
        # 45 pixels off, at the same luma: little of the hint.
        np.testing.assert_allclose(found[0, 0], (20 * strength, -10 * strength), atol=3)


def test_a_hint_is_told_to_the_network_at_its_place():
    run, fed = constant(0, 0)
    guess(run, np.full((100, 200), 50, np.float32), longest=100, hints=[Hint(199, 50, (255, 0, 0))])
    assert np.argwhere(fed["hints"][0, 2]).tolist() == [[25, 99]]
    # Red has a* 80, b* 67, beyond what sRGB shows at L* 50, so it is pulled in along its hue.
    a, b = fed["hints"][0, :2, 25, 99] * 110
    assert b / a == pytest.approx(67.2 / 80.1, abs=0.01)
    assert 60 < a < 80


def test_a_hint_stays_on_its_side_of_an_edge():
    run, _ = constant(0, 0)
    luma = np.full((64, 64), 80, np.float32)
    luma[:, 32:] = 20
    found = guess(run, luma, longest=256, hints=[Hint(30, 32, (200, 120, 120))]).ab
    assert found[32, 28, 0] > 20
    assert abs(found[32, 33:]).max() < 0.1


def test_of_two_hints_at_one_place_the_later_counts():
    run, _ = constant(0, 0)
    luma = np.full((16, 16), 50, np.float32)
    twice = guess(run, luma, longest=256, hints=[Hint(3, 3, (0, 0, 255)), Hint(3, 3, (150, 100, 100))])
    once = guess(run, luma, longest=256, hints=[Hint(3, 3, (150, 100, 100))])
    np.testing.assert_array_equal(twice.ab, once.ab)


def test_a_palette_reaches_the_network():
    run, fed = constant(0, 0)
    palette = np.linspace(0, 1, color.PALETTE_SIZE, dtype=np.float32)
    guess(run, np.full((8, 8), 50, np.float32), longest=256, palette=palette)
    np.testing.assert_array_equal(fed["palette"], palette[None])
    assert fed["use_palette"].tolist() == [1]


def test_the_palette_of_a_photo_is_that_of_its_chroma():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:] = (200, 100, 60)
    expected = color.palette_of(color.to_lab(pixels)[..., 1:])
    np.testing.assert_allclose(palette_from(Image(pixels), longest=20), expected, atol=1e-5)
    deep = Image(pixels.astype(np.uint16) * 257)
    np.testing.assert_allclose(palette_from(deep, longest=20), expected, atol=1e-5)


def dots(alpha: np.ndarray | None) -> Image:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[4:8, 10:14] = (10, 200, 30)
    return Image(pixels, alpha=alpha)


def test_a_painted_dot_is_a_hint_where_it_lies():
    alpha = np.zeros((20, 30), np.uint8)
    alpha[4:8, 10:14] = 255
    # At a working size of 30 / 10 = 3 the dot covers rows 4-7 of the cells 3-5 and 6-8, and columns 10-13.
    found = hints_in(dots(alpha), 20, 30, longest=3)
    assert {hint.rgb for hint in found} == {(10, 200, 30)}
    assert all(10 <= hint.x < 14 and 4 <= hint.y < 8 for hint in found)
    assert len(hints_in(dots(alpha), 20, 30, longest=30)) == 16


@pytest.mark.parametrize(
    ("alpha", "height", "said"),
    [
        (None, 20, "the hints have no transparency"),
        (np.zeros((20, 30), np.uint8), 20, "the hints are empty"),
        (np.full((20, 30), 255, np.uint8), 21, "the hints are 30 x 20 pixels and the picture 30 x 21"),
    ],
)
def test_hints_that_cannot_be_meant_are_refused(alpha, height, said):
    with pytest.raises(BadOption, match=said):
        hints_in(dots(alpha), height, 30, longest=30)
