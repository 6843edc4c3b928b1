"""The weights that ship: whole, small, and as good as their manifest says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from restore import color, store
from restore.chroma import Hint
from restore.colorizer import open_colorizer
from restore.engine import Model, open_model
from restore.image import Image, read
from restore.session import Session
from training.color_metrics import ciede2000
from training.levels_eval import extremes

ROOT = Path(__file__).parents[1]
CBSD68 = ROOT.parent / "shared/data/test/CBSD68"
#: A report of `python -m training eval`, which holds its own command.
GOLDEN = json.loads((ROOT / "tests/golden/cbsd68-first-8.json").read_text("utf-8"))
PUBLISHED = next(row["scores"] for row in GOLDEN["rows"] if row["model"] == "denoise-fast")


@pytest.fixture(autouse=True)
def only_bundled(monkeypatch):
    monkeypatch.delenv("RESTORE_MODELS", raising=False)


def test_every_shipped_file_is_whole_and_listed():
    entries = store.entries()
    assert {e.path for e in entries} == set(store.BUNDLED.glob("*.onnx"))
    for entry in entries:
        store.verify(entry)


def test_shipped_files_keep_to_their_sizes():
    sizes = [path.stat().st_size for path in store.BUNDLED.glob("*.onnx")]
    assert max(sizes) <= 12_000_000
    assert sum(sizes) <= 52_000_000


@pytest.mark.parametrize("entry", store.entries(), ids=lambda entry: entry.name)
def test_a_model_says_where_it_comes_from(entry):
    spec = Session(entry.path).spec
    assert (spec.name, spec.task, spec.tier) == (entry.name, entry.task, entry.tier)
    assert entry.about["licence"] == spec.made_by["licence"]
    assert json.loads(spec.made_by["figures"]) == entry.about["figures"]
    assert entry.about["measured_with"].startswith("python -m training eval")


def test_the_shipped_denoiser_leaves_no_seam(make_photo):
    denoise = open_model("denoise-fast", device="cpu")
    noisy = make_photo(320, 1000) + np.random.default_rng(0).normal(0, 25, (320, 1000, 3))
    image = Image(np.rint(noisy.clip(0, 255)).astype(np.uint8))
    whole = denoise(image, tile=None, sigma=25 / 255).image.pixels
    np.testing.assert_array_equal(denoise(image, tile=768, sigma=25 / 255).image.pixels, whole)


@pytest.mark.parametrize("name", [e.name for e in store.entries() if e.task == "denoise"])
def test_a_scans_sixteen_bits_come_out_without_banding(name):
    ramp = np.linspace(20_000, 22_000, 256)[None, :, None] + np.zeros((128, 1, 3))
    noisy = ramp + np.random.default_rng(0).normal(0, 5 * 257, ramp.shape)
    scan = Image(np.rint(noisy).astype(np.uint16))
    restored = open_model(name, device="cpu")(scan).image.pixels
    assert restored.dtype == np.uint16
    # 8 bits would leave nine levels of this ramp.
    assert len(np.unique(restored)) > 1000


@pytest.mark.parametrize("name", [e.name for e in store.entries() if e.task == "denoise"])
def test_night_and_snow_keep_their_mean(name, make_photo):
    clean = make_photo(256, 256).astype(np.float32) / 255
    clean[:, :96] = clean[:, :96] * 12 / 255 + 2 / 255
    clean[:, 160:] = clean[:, 160:] * 12 / 255 + 241 / 255
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape).astype(np.float32)
    restored = open_model(name, device="cpu").run_array(noisy, sigma=25 / 255)["restored"]
    for errors in extremes(clean, restored):
        assert len(errors) > 300
        assert abs(np.mean(errors)) < 0.5


@pytest.mark.skipif(not CBSD68.is_dir(), reason="needs the pictures of CBSD68, which may not be shipped")
@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_the_denoiser_reaches_its_figures_on_eight_photos(sigma):
    denoise = open_model("denoise-fast", device="cpu")
    scores = []
    for index, path in enumerate(sorted(CBSD68.glob("*.png"))[:8]):
        clean = read(path).pixels.astype(np.float32) / 255
        noise = np.random.default_rng([0, index, sigma]).standard_normal(clean.shape, dtype=np.float32)
        noisy = clean + np.float32(sigma / 255) * noise
        restored = denoise.run_array(noisy, sigma=sigma / 255)["restored"]
        scores.append(-10 * np.log10(np.mean((restored.astype(float) - clean) ** 2)))
    # Another processor adds in another order; a hundredth of a decibel is far above that.
    assert np.mean(scores) == pytest.approx(PUBLISHED[str(sigma)]["psnr"], abs=0.01)


def _gained(denoise: Model, clean: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The squared error that the denoiser leaves of the noise, untold, as a share: (H, W, 3)."""
    noisy = Image(np.rint((clean + 25 * noise).clip(0, 255)).astype(np.uint8))
    restored = denoise(noisy).image.pixels
    return np.square(restored - clean.astype(float)) / np.mean(np.square(noisy.pixels - clean.astype(float)))


@pytest.mark.parametrize("name", [e.name for e in store.entries() if e.task == "denoise"])
def test_noise_in_black_and_white_goes_as_in_colour(name, make_photo):
    denoise = open_model(name, device="cpu")
    clean = make_photo(304, 400)
    grey = np.repeat(np.rint(color.luma_of(clean) * 2.55)[..., None], 3, axis=2)
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    left = _gained(denoise, grey, np.repeat(noise[..., :1], 3, axis=2)).mean()
    # Colour has three times as much to tell a pixel from its noise.
    assert left < 3 * _gained(denoise, clean, noise).mean()
    assert left < 0.15


@pytest.mark.parametrize("name", [e.name for e in store.entries() if e.task == "denoise"])
def test_noise_goes_at_the_end_of_a_picture_whose_sides_are_no_multiples(name, make_photo):
    denoise = open_model(name, device="cpu")
    clean = make_photo(321, 417)
    left = _gained(denoise, clean, np.random.default_rng(0).standard_normal(clean.shape))
    ends = np.concatenate((left[-4:].ravel(), left[:, -4:].ravel()))
    # In this picture they are flatter than the rest; edges repeated to the multiple left 0.06 of them, mirrored 0.02.
    assert ends.mean() < left[8:-8, 8:-8].mean()


@pytest.mark.parametrize("size", [(300, 400), (1200, 1600)])
def test_the_shipped_remover_changes_nothing_outside_its_mask(size, make_photo):
    photo = make_photo(*size)
    # A blue disc of half opacity, which is what it learned to see.
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    disc = (y - 0.5) ** 2 + (x - 0.6) ** 2 < 0.15**2
    photo[disc] = photo[disc] // 2 + np.array([10, 40, 120], np.uint8)
    remove = open_model("unwatermark-fast", device="cpu")
    done = remove(Image(photo), certainty=0.0)
    changed = (done.image.pixels != photo).any(axis=2)
    assert not changed[done.mask == 0].any()
    assert changed.any()
    brushed = disc & (x > 0.6)
    done = remove(Image(photo), mask=brushed)
    np.testing.assert_array_equal(done.mask > 0, brushed)
    np.testing.assert_array_equal(done.image.pixels[~brushed], photo[~brushed])


def test_the_shipped_colorizer_keeps_the_luma_and_meets_a_hint(make_photo):
    pixels = color.luma_of(make_photo(400, 600))
    grey = Image(color.join(pixels, np.zeros((*pixels.shape, 2), np.float32), np.uint16))
    hint = Hint(300, 200, (180, 120, 90))
    made = open_colorizer("colorize", device="cpu")(grey, hints=[hint]).image.pixels
    lab = color.to_lab(made)
    # The bar: half of one L*.
    assert np.abs(lab[..., 0] - color.luma_of(grey.pixels)).max() <= 0.5
    patch = np.s_[197:204, 297:304]
    a, b = color.to_lab(np.array([[hint.rgb]], np.uint8))[0, 0, 1:]
    wanted = np.stack([lab[patch][..., 0], np.full((7, 7), a), np.full((7, 7), b)], axis=-1)
    assert ciede2000(lab[patch], color.into_gamut(wanted)).mean() <= 6
