"""Watermarks: the blends by hand, the truth after JPEG and resize, splits without overlap, repeatable by seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from training import TrainingError
from training.jpeg import jpeg
from training.mark_assets import Assets, family_split
from training.mark_bank import PLAIN, bank_path, fill_bank, open_bank
from training.marks import KINDS, PATTERNS, draw_mark, pick_angle
from training.sheets import contact_sheet
from training.watermarks import (
    MarkedPair,
    Planes,
    Watermark,
    blend,
    clwd_mark,
    compose,
    mark_photo,
    place,
    random_marks,
)

SPLITS = ("train", "val", "test")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def folder(mark_folder: Path) -> Path:
    return mark_folder


@pytest.fixture(scope="module")
def assets(folder: Path) -> Assets:
    return Assets.load(folder, "train")


@pytest.fixture(scope="module")
def bank(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with banks of six marks and one plain logo, for train and test."""
    out = tmp_path_factory.mktemp("marks")
    for split in ("train", "test"):
        fill_bank(Assets.load(folder, split), bank_path(out, split), marks=6, logos=1, seed=0)
    return out


@pytest.fixture(scope="module")
def photos(make_photo) -> Tensor:
    """Six made-up photos of 64 x 80: (6, 3, 64, 80)."""
    return torch.from_numpy(np.stack([make_photo(64, 80, seed) for seed in range(6)])).permute(0, 3, 1, 2) / 255


def square(opacity: float, colour: float, *, size: int = 32) -> Tensor:
    """A premultiplied layer: a grey square of a quarter of the canvas in its upper left corner."""
    layer = torch.zeros(4, size, size)
    layer[:3, : size // 2, : size // 2] = opacity * colour
    layer[3, : size // 2, : size // 2] = opacity
    return layer


# Splits


def test_no_font_and_no_logo_is_in_two_splits(folder):
    loaded = [Assets.load(folder, split) for split in SPLITS]
    files = [f.path for a in loaded for f in a.fonts] + [logo.path for a in loaded for logo in a.logos]
    assert len(set(files)) == len(files) == 6


def test_all_weights_of_a_family_go_the_same_way_and_about_a_tenth_to_test_and_val():
    assert family_split("Roboto") == family_split("Roboto")
    where = [family_split(f"Family {index}") for index in range(1000)]
    # A share of 0.1 of 1,000 has a standard deviation of 9.5.
    assert where.count("test") == pytest.approx(100, abs=3 * 9.5)
    assert where.count("val") == pytest.approx(100, abs=3 * 9.5)


def test_a_split_without_a_logo_is_refused(folder):
    with pytest.raises(TrainingError, match=r"0 fonts and 0 logos of the split 'holdout'"):
        Assets.load(folder, "holdout")


def test_several_processes_fill_the_same_bank(folder, bank, tmp_path):
    path = fill_bank(Assets.load(folder, "train"), tmp_path / "marks.tar", marks=6, logos=1, seed=0, workers=2)
    assert path.read_bytes() == bank_path(bank, "train").read_bytes()


def test_a_bank_holds_only_its_own_splits_logo(bank):
    # A point in the rim's middle, away from edges: the green there is 10 in the train logo, 90 in the test one.
    green = [int(open_bank(bank_path(bank, split)).marks[PLAIN][0][1, 25, 25]) for split in ("train", "test")]
    assert green == pytest.approx([10, 90], abs=2)  # resampling rounds


def test_a_missing_bank_says_how_to_make_one(tmp_path):
    with pytest.raises(TrainingError, match=r"marks-val\.tar: no drawn marks here"):
        open_bank(bank_path(tmp_path, "val"))


# Drawing


@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_of_each_kind_is_drawn_and_the_same_by_seed(kind, assets):
    first, second = (draw_mark(assets, kind, 96, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8
    assert first.shape[2] == 4
    assert first[..., 3].max() > 100
    if kind in PATTERNS:
        assert first.shape[:2] == (96, 96)
        assert (first[..., 3] > 1).mean() <= 0.4


def test_half_of_the_marks_are_upright_and_thirty_and_forty_five_degrees_are_common():
    chance = np.random.default_rng(0)
    angles = [pick_angle(chance) for _ in range(1000)]
    assert angles.count(0.0) == pytest.approx(500, abs=3 * 16)
    assert min(angles.count(a) for a in (-45, -30, 30, 45)) > 20
    assert len(set(angles)) > 100


# Blending


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        # A grey of 0.8 with opacity 0.5 on a photo of 0.4.
        ("normal", 0.5 * 0.4 + 0.5 * 0.8),
        ("screen", 0.5 * 0.4 + 0.5 * (1 - (1 - 0.4) * (1 - 0.8))),
        ("multiply", 0.5 * 0.4 + 0.5 * (0.4 * 0.8)),
        ("additive", 0.4 + 0.5 * 0.8),
    ],
)
def test_each_blend_is_what_editors_make_of_it(how, expected):
    alpha, mark = blend(square(1, 0.8), opacity=0.5, how=how)
    made = (1 - alpha) * 0.4 + mark
    assert made[:, 0, 0].tolist() == pytest.approx([expected] * 3)
    assert made[:, -1, -1].tolist() == pytest.approx([0.4] * 3)


def test_an_opacity_of_one_level_is_none():
    faint, seen = blend(square(1, 1), opacity=1 / 255), blend(square(1, 1), opacity=1.5 / 255)
    assert not faint.alpha.any()
    assert not faint.mark.any()
    assert seen.alpha.any()


def test_two_marks_add_up_to_the_same_as_one_after_the_other():
    first, second = blend(square(1, 0.9), opacity=0.5), blend(square(1, 0.1), opacity=0.25, how="multiply")
    both = first.under(second)
    after_first = (1 - first.alpha) * 0.6 + first.mark
    torch.testing.assert_close((1 - both.alpha) * 0.6 + both.mark, (1 - second.alpha) * after_first + second.mark)


def test_an_upright_mark_at_its_own_size_is_pasted_pixel_by_pixel():
    mark = torch.randint(0, 256, (4, 6, 8), generator=rng(), dtype=torch.uint8)
    layer = place(mark, (20, 30), longest=8, angle=0, centre=(5, 10))
    expected = torch.zeros(4, 20, 30)
    straight = mark.float() / 255
    expected[:, 2:8, 6:14] = torch.cat((straight[:3] * straight[3:], straight[3:]))
    # 1e-4: the sampling grid is in float32, whose rounding mixes in a little of a neighbour.
    torch.testing.assert_close(layer, expected, atol=1e-4, rtol=0)


def test_a_quarter_turn_is_counter_clockwise():
    mark = torch.full((4, 8, 8), 255, dtype=torch.uint8)
    mark[:3, :, :4] = 0  # dark on the left, bright on the right
    layer = place(mark, (16, 16), longest=8, angle=90, centre=(8, 8))
    assert layer[0, 5, 8] == pytest.approx(1, abs=1e-3)  # the right side is up now
    assert layer[0, 10, 8] == pytest.approx(0, abs=1e-3)


# The truth


def test_before_jpeg_the_mask_is_where_the_pictures_differ():
    clean = torch.full((1, 3, 32, 32), 0.25)
    alpha, mark = blend(square(1, 1), opacity=0.4)
    pair = compose(clean, alpha[None], mark[None], size=(32, 32), quality=torch.zeros(1))
    differs = (pair.inputs["image"] != pair.clean).any(dim=1, keepdim=True)
    assert torch.equal(pair.mask > 0, differs)
    assert pair.mask.mean() == 0.25
    # 0.6 * 0.25 + 0.4 = 0.55, and both in whole levels of 255.
    assert pair.inputs["image"][0, 0, 0, 0].item() * 255 == pytest.approx(round(0.6 * 0.25 * 255 + 0.4 * 255))
    assert pair.clean[0, 0, 0, 0].item() * 255 == pytest.approx(64)


def test_the_clean_twin_goes_through_the_same_jpeg(photos):
    nothing = torch.zeros_like(photos)
    quality = torch.full((6,), 70.0)
    pair = compose(photos, nothing, nothing, size=(64, 80), quality=quality)
    assert torch.equal(pair.clean, jpeg((photos * 255).round() / 255, quality))
    assert torch.equal(pair.clean, pair.inputs["image"])
    assert not pair.mask.any()


def test_a_jpeg_before_the_resize_is_done_to_both_twins(photos):
    nothing = torch.zeros_like(photos)
    earlier, none = torch.full((6,), 60.0), torch.zeros(6)
    pair = compose(photos, nothing, nothing, size=(32, 40), quality=none, earlier=earlier)
    stored = jpeg((photos * 255).round() / 255, earlier)
    smaller = F.interpolate(stored, (32, 40), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(pair.clean, smaller, rtol=0, atol=0.51 / 255)
    assert torch.equal(pair.clean, pair.inputs["image"])


def test_logos_as_clwd_has_them_have_a_share_of_jpeg_of_their_own(bank):
    for clwd, share in ((1.0, 0.0), (0.0, 1.0)):
        damage = Watermark(folder=bank, unmarked=0.0, clwd=clwd, stored=1.0, clwd_stored=0.0)
        drawn = damage.draw(20, (16, 16), np.random.default_rng(3))
        assert (drawn.quality > 0).float().mean() == share


def test_only_resized_pictures_were_stored_before(bank):
    for resized in (0.0, 1.0):
        drawn = Watermark(folder=bank, resized=resized).draw(200, (16, 16), np.random.default_rng(3))
        stored = int((drawn.earlier > 0).sum())
        # Half of 200, with a standard deviation of 7.
        assert 78 <= stored <= 122 if resized else stored == 0


def test_no_pixel_outside_the_mask_was_moved_by_more_than_two_levels(photos):
    white = torch.full((4, 9, 9), 255, dtype=torch.uint8)
    planes = blend(place(white, (64, 80), longest=30, angle=20, centre=(30, 40)), opacity=0.9)
    alpha, mark = (part.expand_as(photos) for part in planes)
    pair = compose(photos, alpha, mark, size=(64, 80), quality=torch.full((6,), 60.0))
    moved = (pair.inputs["image"] - pair.clean).abs() * 255
    assert (moved * (1 - pair.mask)).max() < 2.01
    # JPEG carried the mark's edge on: the mask is larger than the mark, which lies in it wholly.
    own = alpha.amax(dim=1, keepdim=True) > 1 / 255
    assert (pair.mask >= own.float()).all()
    assert pair.mask.sum() > own.sum()


def test_both_twins_and_the_truth_are_resized_together(photos):
    alpha, mark = blend(square(1, 1, size=64), opacity=1.0)
    pair = compose(photos[:1, :, :, :64], alpha[None], mark[None], size=(32, 32), quality=torch.zeros(1))
    assert {part.shape[-2:] for part in (pair.clean, pair.mask, pair.alpha, pair.inputs["image"])} == {(32, 32)}
    assert pair.alpha[0, :, :15, :15].min() == pytest.approx(1)
    assert pair.alpha[0, :, 18:, 18:].max() == 0


# The degradation


def test_the_same_rng_makes_the_same_pair(photos, bank):
    first, second, other = (Watermark(folder=bank)(photos, rng(seed)) for seed in (5, 5, 6))
    for name in first.inputs:
        assert torch.equal(first.inputs[name], second.inputs[name])
    assert torch.equal(first.mask, second.mask)
    assert torch.equal(first.clean, second.clean)
    assert not torch.equal(first.inputs["image"], other.inputs["image"])


def test_a_pair_has_the_batchs_shape_and_values_of_a_picture(photos, bank):
    for seed in range(6):
        pair = Watermark(folder=bank, resized=1.0)(photos, rng(seed))
        assert isinstance(pair, MarkedPair)
        for part in (pair.clean, pair.inputs["image"], pair.alpha, pair.mark):
            assert part.shape == photos.shape
            assert part.min() >= 0
            assert part.max() <= 1
        assert set(pair.mask.unique().tolist()) <= {0.0, 1.0}


def test_about_an_eighth_of_the_pictures_get_no_mark(bank):
    clean = torch.full((256, 3, 16, 16), 0.45)
    pair = Watermark(folder=bank, stored=0.0, resized=0.0)(clean, rng())
    untouched = (pair.inputs["image"] == pair.clean).flatten(1).all(dim=1)
    assert not pair.mask[untouched].any()
    # 0.125 of 256 is 32 with a standard deviation of 5.3; a mark that lies wholly outside adds a few.
    assert 32 - 3 * 5.3 <= int(untouched.sum()) <= 32 + 3 * 5.3 + 8


def test_a_users_mask_covers_the_whole_mark_and_is_said_to_be_there(photos, bank):
    pair = Watermark(folder=bank, told=1.0)(photos, rng())
    assert pair.inputs["use_mask"].tolist() == [1.0] * 6
    assert (pair.inputs["mask_in"] >= pair.mask).all()
    pair = Watermark(folder=bank, told=0.0)(photos, rng())
    assert not pair.inputs["use_mask"].any()
    assert not pair.inputs["mask_in"].any()


def test_clwd_lays_one_logo_on_with_an_opacity_of_thirty_to_seventy_percent():
    logo = torch.full((4, 20, 30), 255, dtype=torch.uint8)
    for seed in range(12):
        alpha, mark = clwd_mark(logo, (256, 256), np.random.default_rng(seed))
        assert 0.3 <= alpha.max() <= 0.7
        torch.testing.assert_close(alpha, mark)  # a white logo adds what it takes
        assert 0 < (alpha[0] > 0).sum() <= 256 * 256 * 20 / 30


def test_marks_mostly_cover_from_half_a_percent_to_forty(bank):
    source = open_bank(bank_path(bank, "train"))
    covered = [random_marks(source, (64, 64), np.random.default_rng(seed)).covered for seed in range(24)]
    # A draw that misses is tried again six times, then taken as it is.
    assert sum(0.005 <= share <= 0.4 for share in covered) >= 22


# Whole photos


@pytest.mark.parametrize("style", ["clwd", "hard", "sent"])
def test_a_marked_photo_is_the_same_by_seed(style, photos, assets):
    first, second, other = (mark_photo(photos[0], assets, seed=seed, style=style) for seed in (1, 1, 2))
    assert torch.equal(first.inputs["image"], second.inputs["image"])
    assert torch.equal(first.mask, second.mask)
    assert not torch.equal(first.inputs["image"], other.inputs["image"])
    assert first.mask.any()


def test_a_marked_photo_is_enlarged_with_its_mark(photos, assets):
    own, large = (mark_photo(photos[0], assets, seed=1, style="clwd", size=size) for size in (None, (128, 160)))
    assert large.clean.shape == (1, 3, 128, 160)
    # A rim of half a pixel on each side of the mark is all that the resize adds.
    assert float(large.mask.mean()) == pytest.approx(float(own.mask.mean()), abs=0.1)


def test_an_unknown_style_is_refused(photos, assets):
    with pytest.raises(ValueError, match="no style is called 'soft'; there are: clwd, hard"):
        mark_photo(photos[0], assets, seed=0, style="soft")


def test_planes_know_how_much_they_cover():
    assert Planes(*blend(square(1, 1), opacity=1.0)).covered == 0.25


def test_a_contact_sheet_has_a_cell_of_three_pictures_for_each_crop(photos, bank, tmp_path):
    pair = Watermark(folder=bank)(photos[:4], torch.Generator().manual_seed(0))
    out = contact_sheet(pair, tmp_path / "sheet.png", columns=2)
    with Image.open(out) as sheet:
        assert sheet.size == (2 * (3 * 80 + 6), 2 * (64 + 6))
