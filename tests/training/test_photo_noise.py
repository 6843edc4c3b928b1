"""The noise of photos: mean, variance and correlation of each kind, and the shares of the mix."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training import photo_noise
from training.camera import Camera, demosaic, mosaic, random_cameras
from training.photo_noise import UNKNOWN, DenoisingMix, blur, luma_of, photograph


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def flat(value: float, *, count: int = 4, side: int = 64) -> Tensor:
    return torch.full((count, 3, side, side), value)


def correlation(noise: Tensor, *, rows: int = 0, columns: int = 0) -> float:
    """Of each pixel with the one so many rows and columns further, within a channel."""
    height, width = noise.shape[-2:]
    one, other = noise[..., : height - rows, : width - columns], noise[..., rows:, columns:]
    return float((one * other).mean() / noise.square().mean())


# The camera


def camera(*, shot: float = 0.0, read: float = 0.0, count: int = 1) -> Camera:
    """One whose colours are sRGB's own."""
    matrix, gains = torch.eye(3).repeat(count, 1, 1), torch.ones(count, 3)
    return Camera(matrix, gains, torch.full((count,), shot), torch.full((count,), read))


def test_a_camera_undone_and_done_gives_the_picture_back(rng):
    cameras = random_cameras(4, rng, device=torch.device("cpu"))
    # Muted colours: strong ones lie outside of what a camera's colours can say, and are clipped there.
    image = 0.3 + 0.2 * torch.rand(4, 3, 8, 8, generator=rng)
    torch.testing.assert_close(cameras.to_srgb(cameras.to_raw(image)), image, atol=2e-3, rtol=0)


def test_a_cameras_matrix_keeps_white_white(rng):
    cameras = random_cameras(8, rng, device=torch.device("cpu"))
    torch.testing.assert_close(cameras.matrix.sum(dim=2), torch.ones(8, 3))


def test_cameras_have_the_shot_noise_of_the_darmstadt_set_and_read_noise_that_follows_it(rng):
    cameras = random_cameras(2000, rng, device=torch.device("cpu"))
    # Brooks et al. 2019, section 3.1.
    log_shot = cameras.shot.log()
    assert float(log_shot.min()) == pytest.approx(math.log(1e-4), abs=0.05)
    assert float(log_shot.max()) == pytest.approx(math.log(0.012), abs=0.05)
    rest = cameras.read.log() - 2.18 * log_shot
    # 2,000 draws of deviation 0.26: standard errors of 0.006 and 0.004; three of these.
    assert float(rest.mean()) == pytest.approx(1.20, abs=0.018)
    assert float(rest.std()) == pytest.approx(0.26, abs=0.012)


def test_raw_noise_has_the_variance_of_its_shot_and_read_levels(rng):
    made = camera(shot=1e-4, read=4e-6, count=8)
    image = flat(0.5, count=8)
    light = made.to_raw(image)[0, 0, 0, 0].item()
    # A smoothstep of the gamma-encoded light is 0.5 at light 0.5 ** 2.2.
    assert light == pytest.approx(0.5**2.2, rel=1e-4)
    # d sRGB / d light there: the tone curve's slope 1.5 times that of the gamma.
    slope = 1.5 * 0.5 / light / 2.2
    noise = made.noise(image, rng, gradient_corrected=False)
    green = noise[:, 1, 1::2, ::2]
    # At blue's rows and green's columns the sensor sees green itself: no neighbour is mixed in.
    expected = slope * math.sqrt(1e-4 * light + 4e-6)
    # 8,192 values: a standard error of 0.8 %; the curve is straight to about 1 % over such noise.
    assert float(green.std()) == pytest.approx(expected, rel=0.03)
    assert abs(float(green.mean())) < 3 * expected / math.sqrt(green.numel()) + 0.01 * expected


def test_shadows_are_noisier_than_lights(rng):
    made = camera(shot=1e-3, count=2)
    dark, bright = (float(made.noise(flat(value, count=2), rng).std()) for value in (0.2, 0.9))
    assert dark > 1.3 * bright


def test_demosaicing_correlates_what_the_sensor_does_not(rng):
    noise = camera(shot=1e-3, count=4).noise(flat(0.5), rng, gradient_corrected=False)
    # Bilinear red: three of four pixels are means of neighbours.
    assert correlation(noise[:, :1], columns=1) > 0.4
    assert abs(correlation(noise[:, :1], columns=5)) < 0.05


@pytest.mark.parametrize("gradient_corrected", [True, False])
def test_demosaicing_keeps_a_colour_without_detail(gradient_corrected):
    colour = torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1).expand(1, 3, 12, 14)
    torch.testing.assert_close(demosaic(mosaic(colour), gradient_corrected=gradient_corrected), colour)


def test_demosaicing_keeps_what_the_sensor_saw(rng):
    image = torch.rand(1, 3, 8, 8, generator=rng)
    answer = demosaic(mosaic(image))
    assert torch.equal(answer[:, 0, ::2, ::2], image[:, 0, ::2, ::2])
    assert torch.equal(answer[:, 1, ::2, 1::2], image[:, 1, ::2, 1::2])
    assert torch.equal(answer[:, 2, 1::2, 1::2], image[:, 2, 1::2, 1::2])


# Film, scanner, blotches


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("film_grain", 2, 18), ("scanner_noise", 1, 9.1), ("chroma_blotches", 1, 12.7)]
)
def test_each_kind_is_as_strong_as_it_says_and_has_no_mean(rng, kind, low, high):
    noise = getattr(photo_noise, kind)(flat(0.5, count=64), rng) * 255
    deviation = noise.std(dim=(1, 2, 3))
    # A tenth for what 64 pixels squared of correlated noise leave to chance.
    assert float(deviation.min()) > 0.55 * low
    assert float(deviation.max()) < 1.15 * high
    assert abs(float(noise.mean())) < 0.3


def test_film_grain_is_strongest_in_the_mid_tones_and_alike_in_the_layers(rng):
    states = rng.get_state()
    strengths = []
    for value in (0.02, 0.5, 0.98):
        rng.set_state(states)
        strengths.append(float(photo_noise.film_grain(flat(value, count=16), rng).std()))
    assert strengths[1] > 2.5 * max(strengths[0], strengths[2])
    grain = photo_noise.film_grain(flat(0.5, count=16), rng)
    alike = (grain[:, 0] * grain[:, 1]).mean() / grain.square().mean()
    assert float(alike) > 0.6  # own grain has at most 0.6 of the deviation: 1 - 0.36


def test_a_scanners_stripes_run_along_the_whole_scan_and_differ_between_channels(rng):
    noise = photo_noise.scanner_noise(flat(0.5, count=32, side=64), rng)
    means = max((noise.mean(dim=axis) for axis in (2, 3)), key=lambda m: float(m.std()))
    # White noise of at most 8 leaves 1 in the mean of 64 pixels; stripes are up to 4.
    assert float(means.std()) * 255 > 1.2
    assert abs(float((means[:, 0] * means[:, 1]).mean() / means.square().mean())) < 0.15


def test_blotches_are_wide_and_have_no_luma(rng):
    noise = photo_noise.chroma_blotches(flat(0.5, count=32), rng)
    luma = photo_noise.luma_of(noise)
    clouds = noise - luma
    assert correlation(clouds, columns=1) > 0.8
    assert float(luma.std()) * 255 < 4.1


def test_sensor_noise_keeps_the_size_whatever_it_was_made_at():
    for seed in range(12):
        rng = torch.Generator().manual_seed(seed)
        noise = photo_noise.sensor_noise(flat(0.4, count=2, side=32), rng)
        assert noise.shape == (2, 3, 32, 32)
        assert torch.isfinite(noise).all()


# The whole


def test_blur_keeps_the_mean_and_cuts_the_variance_as_a_gaussian_does(rng):
    white = torch.randn(1, 1, 256, 256, generator=rng)
    soft = blur(white, 2.0)
    # Of white noise a Gaussian blur leaves 1 / (4 pi sigma^2) of the variance.
    assert float(soft.var()) == pytest.approx(1 / (4 * math.pi * 4), rel=0.1)
    torch.testing.assert_close(blur(torch.full((1, 2, 9, 9), 0.3), 1.5), torch.full((1, 2, 9, 9), 0.3))


def test_a_photo_is_8_bit_and_the_same_for_the_same_chance():
    clean = flat(0.5, count=6, side=32)
    one, other = (photograph(clean, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
    levels = one * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert one.min() >= 0
    assert one.max() <= 1
    assert not torch.equal(one, clean)


def test_the_mix_holds_its_shares_and_tells_only_what_is_white(rng):
    clean = flat(0.5, count=20, side=16)
    for _ in range(50):
        pair = DenoisingMix()(clean, rng)
        sigma = pair.inputs["sigma"]
        known = sigma >= 0
        assert set(sigma[~known].tolist()) == {UNKNOWN}
        # 45 % of 20 are a whole number: nothing is left to chance.
        assert int(known.sum()) == 9
        damage = (pair.inputs["image"] - clean).std(dim=(1, 2, 3))
        # 256 different values, in colour 768: a standard error of 4.4 %; four of these, on levels above half a level.
        torch.testing.assert_close(damage[known], sigma[known], rtol=0.18, atol=0.002)


def test_what_no_whole_number_of_pictures_makes_is_left_to_chance(rng):
    clean = flat(0.5, count=3, side=16)
    told = [int((DenoisingMix()(clean, rng).inputs["sigma"] >= 0).sum()) for _ in range(600)]
    assert set(told) == {1, 2}
    # 45 % of 3 are 1.35; 600 draws have a standard error of 1.9 %: three of these.
    assert sum(told) / len(told) == pytest.approx(1.35, abs=0.058)


def test_of_100_files_15_lost_nothing_65_are_jpeg_once_and_20_twice(rng, monkeypatch):
    qualities = []

    def marked(image, quality, *, subsample):
        qualities.append(quality)
        return image + 1

    monkeypatch.setattr(photo_noise, "jpeg", marked)
    count = 4000
    times = photo_noise.saved(torch.zeros(count, 3, 2, 2), rng).amax(dim=(1, 2, 3))
    for number, share in ((0, 0.2 * 0.75), (1, 0.8 * 0.75 + 0.2 * 0.25), (2, 0.8 * 0.25)):
        error = math.sqrt(share * (1 - share) / count)
        assert float((times == number).float().mean()) == pytest.approx(share, abs=3 * error)
    drawn = torch.cat(qualities)
    # Low ones are rare: by a root one in 58 is below 65.
    assert 60 <= float(drawn.min()) < 65
    assert float(drawn.max()) == 98


def test_a_quarter_of_the_mix_is_grey_with_the_noise_of_one_channel(rng):
    clean = torch.tensor([0.7, 0.5, 0.3]).view(1, 3, 1, 1).expand(400, 3, 16, 16)
    pair = DenoisingMix(toned=0.0)(clean, rng)
    image, sigma = pair.inputs["image"], pair.inputs["sigma"]
    grey = (pair.clean == pair.clean[:, :1]).all(dim=3).all(dim=2).all(dim=1)
    # 400 draws: a standard error of 2.2 %; three of these.
    assert float(grey.float().mean()) == pytest.approx(0.25, abs=0.066)
    torch.testing.assert_close(pair.clean[grey], torch.full_like(pair.clean[grey], 0.5370), atol=1e-4, rtol=0)
    torch.testing.assert_close(pair.clean[~grey], clean[~grey], atol=1e-5, rtol=0)
    # JPEG leaves a grey picture grey to a level.
    assert float((image - image[:, :1])[grey].abs().max()) <= 1.5 / 255
    white = grey & (sigma > 0.01)
    assert int(white.sum()) > 20
    assert torch.equal(image[white], image[white][:, :1].expand(-1, 3, -1, -1))
    ratio = (image - pair.clean)[white].std(dim=(1, 2, 3)) / sigma[white]
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.04)
    assert not torch.equal(
        DenoisingMix(grey=0.0)(clean, rng).clean[:, :1], DenoisingMix(grey=1.0)(clean, rng).clean[:, :1]
    )


def test_toned_pictures_and_their_noise_have_one_colour_and_are_told_nothing(rng):
    clean = torch.rand(200, 3, 16, 16, generator=rng)
    pair = DenoisingMix(blind=0.55, untouched=0.0, grey=1.0, toned=1.0)(clean, rng)
    told = pair.inputs["sigma"] >= 0
    assert 80 <= int(told.sum()) <= 100
    assert torch.equal(pair.clean[told], pair.clean[told][:, :1].expand(-1, 3, -1, -1))
    tone = pair.clean / luma_of(clean)
    assert float(tone[~told].std(dim=(2, 3)).max()) < 1e-5
    assert 0.7 <= float(tone.min()) < 0.8
    torch.testing.assert_close(tone.amax(dim=1), torch.ones_like(tone.amax(dim=1)))
    # The last of the untold are not rounded: there the noise has the tone to the last bit.
    exact = slice(170, 200)
    noise = (pair.inputs["image"] - pair.clean)[exact] / tone[exact]
    torch.testing.assert_close(noise, noise[:, :1].expand(-1, 3, -1, -1), atol=1e-5, rtol=0)
    assert float(noise.abs().max()) > 0.1


def test_some_of_the_mix_stays_untouched_bit_for_bit_and_is_not_told(rng):
    stripes = 0.5 + 0.3 * (torch.arange(64) % 2 * 2 - 1).float().expand(100, 3, 16, 64)
    pair = DenoisingMix(untouched=0.2)(stripes, rng)
    same = (pair.inputs["image"] == pair.clean).all(dim=3).all(dim=2).all(dim=1)
    assert 20 <= int(same.sum()) < 30
    assert bool(same[-20:].all())
    assert set(pair.inputs["sigma"][same].tolist()) == {UNKNOWN}
    assert float(pair.level[same].max()) == 0


def test_the_mixs_level_is_that_of_the_noise_and_not_of_the_file(rng):
    # Fine stripes, of which JPEG keeps little.
    stripes = 0.5 + 0.3 * (torch.arange(64) % 2 * 2 - 1).float().expand(64, 3, 64, 64)
    pair = DenoisingMix(told=0.0, blind=0.0)(stripes, rng)
    damage = (pair.inputs["image"] - stripes).square().mean(dim=(1, 2, 3)).sqrt()
    level = pair.level.square().mean(dim=(1, 2, 3)).sqrt()
    assert pair.level.shape == (64, 1, 4, 4)
    without = level == 0
    assert 0 < int(without.sum()) < 32
    assert float(damage[without].max()) > 1 / 255


def test_the_mixs_level_of_white_noise_is_its_sigma(rng):
    pair = DenoisingMix(told=1.0, blind=0.0, grey=0.0)(flat(0.5, count=8), rng)
    # 768 values a window: a standard error of 2.6 %; five of these.
    sigma = pair.inputs["sigma"].view(8, 1, 1, 1).expand(8, 1, 4, 4)
    torch.testing.assert_close(pair.level, sigma, rtol=0.13, atol=1e-4)


def checkerboard(count: int = 4) -> torch.Tensor:
    """Squares of one pixel, black and white: as fine as a picture can be."""
    checks = torch.arange(32) % 2 * 1.0
    return (checks[:, None] + checks[None]).remainder(2).expand(count, 3, 32, 32)


def test_a_softened_picture_is_a_part_of_it_enlarged(rng):
    clean = checkerboard()
    softer = photo_noise.softened(clean, rng)
    assert softer.shape == clean.shape
    # Enlarged, they are no longer black beside white.
    assert float(softer.diff(dim=3).abs().mean()) < 0.9


def test_a_shrunk_picture_is_others_of_the_batch_side_by_side():
    grey = torch.tensor([0.2, 0.4, 0.6, 0.8])
    clean = grey.view(4, 1, 1, 1).expand(4, 3, 36, 36)
    sides = set()
    for seed in range(10):
        sheets = photo_noise.shrunk(clean, 5, torch.Generator().manual_seed(seed))
        assert sheets.shape == (5, 3, 36, 36)
        # Away from the lines between them, at halves or thirds.
        middles = sheets[..., [6, 18, 30], :][..., [6, 18, 30]]
        corners = middles[..., ::2, ::2].flatten()
        torch.testing.assert_close(
            (corners[:, None] - grey).abs().min(dim=1).values, torch.zeros(60), atol=2e-3, rtol=0
        )
        steps = sheets.diff(dim=3).abs().mean(dim=(0, 1, 2))
        sides.add("halves" if steps[17] > steps[11] else "thirds")
    assert sides == {"halves", "thirds"}


def test_what_is_shrunk_is_finer():
    stripes = 0.5 + 0.3 * (torch.arange(48) // 6 % 2 * 2 - 1).float().expand(2, 3, 48, 48)
    finer = photo_noise.shrunk(stripes, 3, torch.Generator().manual_seed(0))
    assert float(finer.diff(dim=3).abs().mean()) > 1.5 * float(stripes.diff(dim=3).abs().mean())


def test_some_batches_are_softened_or_shrunk_and_the_truth_with_them():
    clean = checkerboard()
    pair = DenoisingMix(told=0.0, blind=0.0)
    truths = [pair(clean, torch.Generator().manual_seed(seed)).clean for seed in range(40)]
    kept = sum(torch.equal(truth[:3], clean[:3]) for truth in truths)
    assert 1 <= kept < 15


def test_untouched_pictures_are_shrunk_in_half_of_the_batches():
    clean = checkerboard()
    pair = DenoisingMix(told=0.0, blind=0.0, untouched=1.0, grey=0.0)
    truths = [pair(clean, torch.Generator().manual_seed(seed)).clean for seed in range(40)]
    assert 10 < sum(torch.equal(truth, clean) for truth in truths) < 30


def test_the_mix_takes_a_single_picture_too(rng):
    for _ in range(20):
        pair = DenoisingMix()(flat(0.5, count=1, side=16), rng)
        assert pair.inputs["image"].shape == (1, 3, 16, 16)
        assert pair.weight.shape == (1,)
