"""restore reproduce: a picture from its code, the code's bytes, JPEG at the same bytes, and how unlike photos it is."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as PillowImage

from restore import reproduce as module
from restore.contract import SPEC_KEY, ModelSpec
from restore.engine import Restorer, open_model
from restore.errors import UnsupportedModel
from restore.image import Image, read
from restore.reproduce import TYPICAL_KEY, Typical, jpeg_within, pack, psnr, reproduce, traits

KNOWN = Typical(
    (0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), tuple(np.linspace(0, 20, 101).tolist())
)


@pytest.fixture(scope="module")
def averager(tmp_path_factory) -> Path:
    """A model file whose code is the mean of each 2 x 2 pixels in 8 levels, and whose picture is made of that alone."""
    spec = ModelSpec(name="reproduce-fast", task="reproduce", answer="image", reach=1, multiple_of=2, made_by={})
    constants = {
        "eight": np.float32(8),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "none": np.zeros(0, np.float32),
        "four_zeros": np.zeros(4, np.int64),
        "two": np.int64(2),
        "axes": np.array([2, 3], np.int64),
        "zeros": np.zeros(2, np.int64),
    }
    nodes = [
        helper.make_node("Shape", ["image"], ["size"], start=2),
        helper.make_node("Neg", ["size"], ["negative"]),
        helper.make_node("Mod", ["negative", "two"], ["extra"]),
        helper.make_node("Concat", ["four_zeros", "zeros", "extra"], ["pads"], axis=0),
        helper.make_node("Pad", ["image", "pads"], ["padded"], mode="edge"),
        helper.make_node("AveragePool", ["padded"], ["mean"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Mul", ["mean", "eight"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["code"]),
        helper.make_node("Div", ["code", "eight"], ["levels"]),
        helper.make_node("Resize", ["levels", "none", "scales"], ["whole"], mode="nearest"),
        helper.make_node("Slice", ["whole", "zeros", "size", "axes"], ["restored"]),
    ]
    graph = helper.make_graph(
        nodes,
        "averager",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [
            helper.make_tensor_value_info("restored", TensorProto.FLOAT, ["N", 3, "H", "W"]),
            helper.make_tensor_value_info("code", TensorProto.FLOAT, ["N", 3, "h", "w"]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {SPEC_KEY: spec.to_json(), TYPICAL_KEY: KNOWN.to_json()})
    folder = tmp_path_factory.mktemp("averager")
    onnx.save(model, folder / "reproduce-fast.onnx")
    return folder / "reproduce-fast.onnx"


@pytest.fixture(scope="module")
def model(averager) -> Restorer:
    return open_model(averager, kind=Restorer, device="cpu", threads=1)


def test_a_picture_comes_back_from_its_code(model):
    # 64 is 2 / 8 of 255, rounded: 2 / 8 * 255 = 63.75.
    done = reproduce(model, Image(np.full((6, 8, 3), 64, np.uint8)))
    assert (done.image.pixels == 64).all()
    assert done.psnr == math.inf


def test_the_psnr_is_of_the_eight_bit_pictures(model):
    # Of 10 in 255 nothing is left in 8 levels: 20 log10(255 / 10) = 28.13 dB.
    assert reproduce(model, Image(np.full((6, 8, 3), 10, np.uint8))).psnr == pytest.approx(28.13, abs=0.01)


def test_tiles_give_the_code_of_the_whole(model, make_photo, monkeypatch):
    photo = make_photo(75, 91)
    whole, code = module._through(model, photo)
    # Upwards to whole places: 38 and 46.
    assert code.shape == (3, 38, 46)
    monkeypatch.setattr(module, "_TILE_PIXELS", 400)
    tiled, tiled_code = module._through(model, photo)
    np.testing.assert_array_equal(tiled, whole)
    np.testing.assert_array_equal(tiled_code, code)


def test_the_bytes_hold_the_code():
    import zlib

    code = np.random.default_rng(0).integers(-3, 4, (5, 20, 30)).astype(np.int8)
    packed = pack(code)
    np.testing.assert_array_equal(np.frombuffer(zlib.decompress(packed, -15), np.int8).reshape(code.shape), code)
    # Seven values alike are 2.81 bits each; a Huffman code comes near.
    assert 2.81 <= 8 * len(packed) / code.size < 3.1


def test_jpeg_gets_the_same_bytes_and_no_more(make_photo):
    photo = make_photo(120, 160)
    sizes = []
    for limit in (2_500, 5_000, 20_000):
        jpeg = jpeg_within(photo, limit)
        assert jpeg is not None
        sizes.append(len(jpeg))
        assert len(jpeg) <= limit
        assert PillowImage.open(io.BytesIO(jpeg)).size == (160, 120)
    assert sizes == sorted(sizes)
    assert jpeg_within(photo, 100) is None


def test_psnr_of_a_difference_of_one_level():
    # 20 log10(255) = 48.13.
    assert psnr(np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)) == pytest.approx(48.13, abs=0.01)


def test_traits_are_logarithms_of_error_worst_error_and_detail(model):
    pixels = np.full((8, 8, 3), 10, np.uint8)
    # 10 levels of error everywhere, and no detail: the least that is told.
    expected = [2 * math.log(10 / 255), 2 * math.log(10 / 255), math.log(1e-6)]
    np.testing.assert_allclose(traits(model, pixels), expected, atol=1e-4)


def test_large_pictures_are_judged_at_the_training_photos_size(model, make_photo):
    photo = make_photo(300, 400)
    enlarged = np.asarray(PillowImage.fromarray(photo).resize((1600, 1200), PillowImage.Resampling.BICUBIC))
    shrunk = np.asarray(PillowImage.fromarray(enlarged).resize((512, 384), PillowImage.Resampling.LANCZOS))
    np.testing.assert_allclose(traits(model, enlarged), traits(model, shrunk), atol=0.1)


def test_the_distance_is_in_standard_deviations():
    # A deviation of 2 along the first axis only: 6 is three of them.
    rng = np.random.default_rng(0)
    known = rng.normal(0, (2, 1, 1), (20_000, 3))
    typical = Typical.of(known, known)
    assert typical.distance(np.array([6.0, 0, 0])) == pytest.approx(3, rel=0.05)
    assert typical.share_below(np.zeros(3)) < 0.01
    assert typical.share_below(np.array([20.0, 0, 0])) == 1
    # Half of normal draws in three dimensions lie within 1.54 deviations.
    assert typical.share_below(np.array([0, 1.54, 0])) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("text", ["{", "{}", '{"mean": [1], "precision": [[1]], "percentiles": [1, 2]}'])
def test_a_wrong_entry_is_refused(text):
    with pytest.raises(UnsupportedModel, match="what photos are like"):
        Typical.from_json(text)
    assert Typical.from_json(KNOWN.to_json()) == KNOWN


def test_the_command_says_what_it_cost(run, averager, make_photo, tmp_path):
    PillowImage.fromarray(make_photo(60, 80)).save(tmp_path / "photo.png")
    result = run("reproduce", "photo.png", "-o", "out.png", "--model", str(averager))
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "photo.png -> out.png"
    done = reproduce(open_model(averager, kind=Restorer, device="cpu"), read(tmp_path / "photo.png"))
    assert lines[1] == f"  reproduced at       {done.psnr:.2f} dB"
    assert lines[2].startswith(f"  its code            {done.code_bytes:,} bytes, ")
    assert lines[3] == f"  JPEG at these bytes {done.jpeg_psnr:.2f} dB"
    assert lines[4].startswith("  more unlike the photos it learnt from than ")
    np.testing.assert_array_equal(read(tmp_path / "out.png").pixels, done.image.pixels)


def test_json_says_it_to_machines_and_one_broken_file_does_not_stop_the_rest(run, averager, make_photo, tmp_path):
    PillowImage.fromarray(make_photo(60, 80)).save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("no picture")
    result = run("reproduce", "text.png", "photo.png", "--model", str(averager), "--json")
    failed, done = (json.loads(line) for line in result.stdout.splitlines())
    assert result.exit_code == 1
    assert (failed["status"], failed["source"]) == ("failed", "text.png")
    assert done["output"] == "photo-reproduced.png"
    assert done["bits_per_pixel"] == round(8 * done["code_bytes"] / 4800, 3)
    assert 0 <= done["unlike"] <= 1


def test_of_several_the_summary_says_what_became_of_them_and_names_the_failed(run, averager, make_photo, tmp_path):
    PillowImage.fromarray(make_photo(60, 80)).save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("no picture")
    words = ("reproduce", "text.png", "photo.png", "--model", str(averager))
    assert run(*words).stderr.endswith("\n1 done, 1 failed\nFailed:\n  text.png\n")
    assert run(*words, "--skip-existing").stderr.endswith("\n1 skipped, 1 failed\nFailed:\n  text.png\n")


def test_a_denoiser_does_not_reproduce(run):
    result = run("reproduce", "nothing.png", "--model", "denoise")
    assert result.exit_code == 2
