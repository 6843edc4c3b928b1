"""The contract: a spec survives the trip through JSON, wrong ones are refused, pixels and tensors agree."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from restore.contract import ModelSpec, Param, TensorInput, to_pixels, to_tensor
from restore.errors import BadOption, UnsupportedModel

SIGMA = Param(name="sigma", min=0.0, max=75 / 255, unknown=-1.0, scale=255.0, unit="of 255", help="noise")
SPEC = ModelSpec(
    name="denoise-fast",
    task="denoise",
    answer="image",
    multiple_of=16,
    reach=195,
    params=(SIGMA,),
    tensors=(TensorInput(name="mask_in", shape=("batch", 1, "height", "width"), min=0.0, max=1.0, default=0.0),),
    labels=("a", "b"),
    made_by={"seed": "0"},
)


def changed(**fields):
    """The spec as JSON with some fields put in place of its own."""
    return json.dumps(json.loads(SPEC.to_json()) | fields)


def test_a_spec_reads_back_as_it_was_written():
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "not JSON"),
        ("[1]", "not a JSON object"),
        (changed(schema=2), "schema 2; this version reads 1"),
        (changed(answer="poem"), "answer 'poem' is none of image, chroma"),
        (changed(colour=1), "unknown fields in spec: colour"),
        (changed(multiple_of=0), "multiple_of must be 1 or more"),
        (changed(reach=-1), "reach must be 0 or more"),
        (changed(reach=None), "needs a working_size"),
        (changed(reach=None, working_size=64, soft_size=65), "soft_size must be"),
        (changed(soft_size=8), "soft_size must be"),
        (changed(name=""), "must be texts"),
        (changed(params=[{"name": "sigma"}]), "lacks something in params"),
        (changed(params=[dataclasses.asdict(SIGMA)] * 2), "two params of one name"),
        (changed(params=[dataclasses.asdict(SIGMA) | {"min": 1.0}]), "out of order"),
        (changed(params="sigma"), "params must be a list"),
        (changed(params=[dataclasses.asdict(SIGMA) | {"min": "0"}]), "of another kind"),
        (changed(tensors=[1]), "of another kind"),
        (changed(made_by="x"), "of another kind"),
        (changed(reach=None, working_size="big", soft_size=1), "of another kind"),
    ],
)
def test_a_wrong_spec_is_refused_by_what_is_wrong(text, message):
    with pytest.raises(UnsupportedModel, match=message):
        ModelSpec.from_json(text)


def test_a_user_writes_sigma_on_the_0_to_255_scale():
    assert SIGMA.from_user(51) == pytest.approx(0.2)
    assert SIGMA.from_user(75) == SIGMA.max


@pytest.mark.parametrize(
    ("value", "message"), [(90, "90 is above 75"), (-1, "-1 is below 0"), (float("nan"), "nan is not a number")]
)
def test_a_value_outside_the_range_is_refused_with_the_limit(value, message):
    with pytest.raises(BadOption, match=message):
        SIGMA.from_user(value)


def test_an_unknown_parameter_is_refused_by_name():
    with pytest.raises(BadOption, match=r"no parameter 'sigmoid'; it has: sigma"):
        SPEC.param("sigmoid")


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_the_largest_level_is_one(dtype, top):
    tensor = to_tensor(np.array([[[0, top, top]]], dtype))
    assert tensor.dtype == np.float32
    assert tensor.shape == (1, 3, 1, 1)
    assert tensor.ravel().tolist() == [0.0, 1.0, 1.0]


def test_grey_is_repeated_in_three_channels():
    tensor = to_tensor(np.array([[0, 255]], np.uint8))
    assert tensor.shape == (1, 3, 1, 2)
    assert tensor[0, :, 0].tolist() == [[0.0, 1.0]] * 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
def test_every_level_survives_the_way_to_a_tensor_and_back(dtype, grey):
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    pixels = levels[None] if grey else np.stack([levels, levels[::-1], levels], axis=-1)[None]
    back = to_pixels(to_tensor(pixels), pixels.dtype, grey=grey)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, pixels)


def test_levels_are_rounded_and_clipped():
    tensor = np.array([-0.1, 0.4 / 255, 0.6 / 255, 254.5 / 255, 1.2, 0.5], np.float32).reshape(1, 3, 1, 2)
    back = to_pixels(tensor, np.dtype(np.uint8))
    # 254.5 and 127.5 sit between two levels; numpy rounds them to the even one.
    assert back.transpose(2, 0, 1).ravel().tolist() == [0, 0, 1, 254, 255, 128]


def test_floats_pass_unchanged_even_out_of_range():
    pixels = np.array([[[-0.5, 0.25, 1.5]]], np.float32)
    np.testing.assert_array_equal(to_pixels(to_tensor(pixels), pixels.dtype), pixels)
