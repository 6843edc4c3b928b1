"""Old photos made of new ones: repeatable, of the promised form, with true hints and palettes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.colorizer import PALETTE_SIZE, lightness, to_lab
from restore import color
from training.old_photo import HINT_SIDES, OldPhoto, age, draw_hints, grey_of, palette_of


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(count: int = 4, side: int = 32) -> torch.Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=rng(1))
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")


def test_the_same_rng_makes_the_same_pair():
    first, second, other = (OldPhoto()(photos(), rng(seed)) for seed in (7, 7, 8))
    assert all(torch.equal(first.inputs[name], second.inputs[name]) for name in first.inputs)
    assert not torch.equal(first.inputs["image"], other.inputs["image"])


def test_a_pair_holds_what_the_network_takes():
    pair = OldPhoto()(photos(3, 24), rng())
    assert {name: tuple(tensor.shape) for name, tensor in pair.inputs.items()} == {
        "image": (3, 3, 24, 24),
        "hints": (3, 3, 24, 24),
        "palette": (3, PALETTE_SIZE),
        "use_palette": (3,),
    }
    assert all(tensor.isfinite().all() for tensor in pair.inputs.values())


def test_the_truth_is_the_clean_chroma():
    clean = photos()
    assert torch.equal(OldPhoto()(clean, rng()).clean, to_lab(clean)[:, 1:])


def test_the_grey_of_a_photo_has_its_l():
    clean = photos()
    grey = grey_of(clean).repeat(1, 3, 1, 1)
    # 1e-3 of 100: float32 there and back.
    torch.testing.assert_close(lightness(grey), lightness(clean), atol=1e-3, rtol=0)


def test_a_photo_that_is_not_aged_is_its_grey():
    clean = photos()
    image = OldPhoto(aged=0.0)(clean, rng()).inputs["image"]
    assert torch.equal(image, grey_of(clean).repeat(1, 3, 1, 1))


def test_aged_photos_are_grey_pictures_in_range():
    image = OldPhoto(aged=1.0)(photos(8), rng()).inputs["image"]
    assert image.min() >= 0
    assert image.max() <= 1
    assert torch.equal(image[:, 0], image[:, 2])


def test_ageing_differs_from_picture_to_picture():
    aged = age(photos(1).expand(4, -1, -1, -1), rng())
    assert not any(torch.equal(aged[0], other) for other in aged[1:])


def test_ageing_leaves_the_picture_recognisable():
    # A ramp from black to white stays one: dirt and grain move single pixels, not the order of the halves.
    ramp = torch.linspace(0, 1, 64).expand(16, 3, 64, 64)
    aged = age(ramp, rng())
    assert (aged[..., 40:].mean((1, 2, 3)) > aged[..., :24].mean((1, 2, 3))).all()


def test_a_hint_tells_the_mean_colour_of_its_patch():
    ab = torch.zeros(1, 2, 40, 40)
    ab[:, 0], ab[:, 1] = 55, -11
    hints = draw_hints(ab, torch.tensor([3]), rng())
    present = hints[0, 2] == 1
    assert 3 <= present.sum() <= 3 * HINT_SIDES[-1] ** 2
    torch.testing.assert_close(hints[0, 0][present], torch.full((int(present.sum()),), 0.5))
    torch.testing.assert_close(hints[0, 1][present], torch.full((int(present.sum()),), -0.1))


def test_where_there_is_no_hint_there_is_nothing():
    hints = draw_hints(torch.full((2, 2, 16, 16), 30.0), torch.tensor([0, 2]), rng())
    assert not hints[0].any()
    absent = hints[1, 2] == 0
    assert not hints[1, :2][:, absent].any()


def test_one_hint_is_a_square_of_an_odd_side_cut_at_the_edge():
    for seed in range(20):
        present = draw_hints(torch.zeros(1, 2, 64, 64), torch.tensor([1]), rng(seed))[0, 2]
        rows, columns = present.any(dim=1).nonzero().flatten(), present.any(dim=0).nonzero().flatten()
        sides = (len(rows), len(columns))
        assert present.sum() == sides[0] * sides[1]
        touches = min(rows[0], columns[0]) == 0 or max(rows[-1], columns[-1]) == 63
        assert touches or (sides[0] == sides[1] and sides[0] in HINT_SIDES)


def test_the_mean_of_a_patch_is_that_of_its_pixels():
    ab = torch.randn(1, 2, 32, 32, generator=rng(3)) * 20
    for seed in range(10):
        hints = draw_hints(ab, torch.tensor([1]), rng(seed))[0]
        present = hints[2] == 1
        torch.testing.assert_close(hints[:2][:, present][:, 0], ab[0][:, present].mean(dim=1) / 110)


def test_hints_are_often_none_mostly_few_and_sometimes_many():
    degrade = OldPhoto(aged=0.0, hinted=0.6, most_hints=100)
    covered = degrade(photos(600, 16), rng()).inputs["hints"][:, 2].sum(dim=(1, 2))
    # Three standard errors of a share of 0.4 among 600 are 0.06.
    assert (covered == 0).float().mean() == pytest.approx(0.4, abs=0.06)
    assert (covered > 150).float().mean() > 0.05


def test_the_palette_is_told_in_half_of_the_pairs():
    pair = OldPhoto(aged=0.0)(photos(600, 8), rng(1))
    told = pair.inputs["use_palette"] == 1
    # Three standard errors of a share of a half among 600 are 0.06.
    assert told.float().mean() == pytest.approx(0.5, abs=0.06)
    assert not pair.inputs["palette"][~told].any()
    torch.testing.assert_close(pair.inputs["palette"][told], palette_of(pair.clean)[told])


def test_the_palette_is_that_of_serving():
    ab = torch.rand(2, 2, 16, 16, generator=rng()) * 260 - 130
    expected = np.stack([color.palette_of(planes.permute(1, 2, 0).numpy()) for planes in ab])
    torch.testing.assert_close(palette_of(ab), torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_lab_in_torch_is_that_of_serving():
    picture = photos(1)
    expected = color.to_lab(picture[0].permute(1, 2, 0).numpy())
    # 2e-3: float32, times the 500 in a*.
    torch.testing.assert_close(to_lab(picture)[0].permute(1, 2, 0), torch.from_numpy(expected), atol=2e-3, rtol=0)
