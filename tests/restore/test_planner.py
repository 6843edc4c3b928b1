"""What a planner is told of a picture, by rules and by the denoiser."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest

from restore import store
from restore.contract import SPEC_KEY, ModelSpec, Param
from restore.engine import open_model, open_noise_finder
from restore.image import Image
from restore.planner import MOST_VARIETY, examine

SHAPE = {"crops": 4, "side": 48, "thumbnail": 96, "longest": 200}


class Doubtful:
    """A denoiser that finds in each crop what its first pixel says, here and half as much there."""

    spec = ModelSpec(
        name="denoise-fast",
        task="denoise",
        answer="image",
        reach=0,
        params=(Param(name="sigma", min=0.0, max=0.3, default=None, unknown=-7.0),),
    )

    def run_batch(self, inputs):
        assert inputs["sigma"].tolist() == [-7.0] * len(inputs["image"])
        said = inputs["image"][:, :1, :1, :1]
        share = np.ones((1, 1, 48, 48), np.float32)
        share[..., 24:] = 0.5
        return {"level": said * share, "restored": 1 - inputs["image"]}


def test_the_denoiser_is_asked_for_the_level_of_each_crop():
    rows = np.linspace(0, 255, 300)[:, None, None].repeat(400, axis=1).repeat(3, axis=2).astype(np.uint8)
    sight = examine(rows, Doubtful(), **SHAPE)
    expected = sight.crops[:, 0, 0, 0] / 255 * np.sqrt((1 + 0.25) / 2)
    assert sight.levels.dtype == np.float32
    np.testing.assert_allclose(sight.levels, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("level", "height", "width", "views"),
    # As noisy as makes a difference, and less; a view of half the picture's size, and of less.
    [(20, 400, 300, 2), (9, 400, 300, 1), (20, 100, 90, 2), (20, 300, 401, 1)],
)
def test_a_noisy_picture_is_viewed_without_its_noise_too(level, height, width, views):
    denoiser = Doubtful()
    sigma = dataclasses.replace(denoiser.spec.params[0], nothing_below=0.05)
    denoiser.spec = dataclasses.replace(denoiser.spec, params=(sigma,))
    view = examine(np.full((height, width, 3), level, np.uint8), denoiser, **SHAPE).view
    assert len(view) == views
    assert (view[0] == level).all()
    assert (view[-1] == (255 - level if views == 2 else level)).all()


def test_without_a_denoiser_there_is_no_noise(make_photo):
    assert examine(make_photo(100, 120), None, **SHAPE).levels.tolist() == [0.0] * 4


@pytest.mark.parametrize("sigma", [5, 20])
def test_the_shipped_denoiser_finds_the_noise(make_photo, sigma):
    denoiser = open_model("denoise", device="cpu", threads=1)
    flat = np.full((200, 300, 3), 120.0) + np.random.default_rng(0).normal(0, sigma, (200, 300, 3))
    levels = examine(np.rint(flat).astype(np.uint8), denoiser, **SHAPE).levels * 255
    np.testing.assert_allclose(levels, sigma, rtol=0.15)


def test_variety_tells_grey_toned_and_colour_apart():
    rng = np.random.default_rng(0)
    colours = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    grey = np.repeat(colours.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    sepia = (grey * np.array([1.0, 0.85, 0.65])).astype(np.uint8)
    assert examine(grey, None, **SHAPE).variety == 0
    assert examine(grey[..., 0], None, **SHAPE).variety == 0
    assert 0 < examine(sepia, None, **SHAPE).variety < 1
    assert examine(colours, None, **SHAPE).variety == MOST_VARIETY


def test_only_a_denoiser_that_finds_the_level_itself_is_asked(smoother, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_MODELS", str(smoother))
    assert open_noise_finder("cpu").spec.name == "denoise-fast"
    model = onnx.load(smoother / "denoise-fast.onnx")
    spec = next(prop for prop in model.metadata_props if prop.key == SPEC_KEY)
    plain = json.loads(spec.value)
    plain["params"][0]["default"] = 0.1
    spec.value = json.dumps(plain)
    onnx.save(model, tmp_path / "denoise-fast.onnx")
    store.publish(tmp_path, "denoise-fast", task="denoise", tier="fast", about={})
    monkeypatch.setenv("RESTORE_MODELS", str(tmp_path))
    assert open_noise_finder("cpu") is None


def test_a_scan_in_two_levels_needs_no_denoiser_and_no_level_is_above_what_it_takes():
    planner = open_model("plan", device="cpu", threads=1)
    dots = (np.random.default_rng(0).random((200, 300)) > 0.5).astype(np.uint8) * 255
    assert "denoise" not in [name for name, _ in planner(Image(dots))]
    # A level between makes it a photo, of more noise than the denoiser can be told.
    dots[0, 0] = 128
    assert ("denoise", 75 / 255) in planner(Image(dots))
