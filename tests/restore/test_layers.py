"""Convolution arithmetic by hand: sizes, parameters, multiply-adds, receptive fields, and what fits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import restore
from restore import store
from restore.errors import BadOption, UnsupportedModel
from restore.layers import PICTURE, Layer, explain_fit, from_json, parameters, receptive_field, table, to_json


def conv(*inputs: int, size: int = 3, stride: int = 1, padding: int = 0, filters: int = 1, **more: object) -> Layer:
    sides = {"size": (size, size), "stride": (stride, stride), "padding": (padding,) * 4}
    return Layer(op="Conv", name="conv", inputs=inputs or (PICTURE,), channels=1, filters=filters, **(sides | more))


def moved(op: str, *inputs: int, factor: int = 2, channels: int = 4, filters: int = 4) -> Layer:
    return Layer(op=op, name=op, inputs=inputs, channels=channels, filters=filters, stride=(factor, factor))


def pool(*inputs: int, channels: int) -> Layer:
    return Layer(
        op="MaxPool", name="pool", inputs=inputs, channels=channels, filters=channels, size=(2, 2), stride=(2, 2)
    )


#: LeNet-5 on 28 x 28, as every textbook has it.
LENET = (
    conv(size=5, filters=6, parameters=156),
    pool(0, channels=6),
    Layer(op="Conv", name="conv2", inputs=(1,), channels=6, filters=16, size=(5, 5), parameters=2416),
    pool(2, channels=16),
    Layer(op="Gemm", name="fc1", inputs=(3,), channels=256, filters=120, parameters=256 * 120 + 120),
)


@pytest.mark.parametrize(
    ("side", "layer", "expected"),
    [
        (7, conv(size=3), 5),
        (7, conv(size=3, stride=2), 3),
        (7, conv(size=3, padding=1), 7),
        # The first layer of AlexNet: (227 - 11) / 4 + 1.
        (227, conv(size=11, stride=4), 55),
        # Rounded down: (8 - 3) / 2 + 1 = 3.5.
        (8, conv(size=3, stride=2), 3),
        # Three taps, two apart, cover five places.
        (9, conv(size=3, dilation=(2, 2)), 5),
        (5, Layer(op="ConvTranspose", name="up", inputs=(), channels=1, filters=1, size=(2, 2), stride=(2, 2)), 10),
        (5, moved("DepthToSpace"), 10),
        (10, moved("SpaceToDepth"), 5),
        (5, moved("Resize", factor=3), 15),
        (5, moved("Repeat", factor=2), 10),
        (5, Layer(op="Gemm", name="fc", inputs=(), channels=1, filters=1), 1),
    ],
)
def test_what_comes_out_of_a_layer(side, layer, expected):
    assert layer.output_size((side, side)) == (expected, expected)


def test_parameters_are_the_filters_weights_and_a_bias_each():
    assert parameters((5, 5), 1, 6) == 156  # 25 * 1 * 6 + 6
    assert parameters((5, 5), 6, 16) == 2416  # 25 * 6 * 16 + 16
    assert parameters((3, 3), 8, 8, groups=8, bias=False) == 72


def test_lenet_row_by_row():
    rows = table(LENET, height=28, width=28)
    assert [row.output for row in rows] == [(24, 24), (12, 12), (8, 8), (4, 4), (1, 1)]
    # 24 * 24 places of 25 weights and 6 filters; 8 * 8 of 150 and 16; 256 * 120.
    assert [row.multiply_adds for row in rows] == [86_400, 0, 153_600, 0, 30_720]
    # Pooling adds a step of 1; the second 5x5 four steps of 2.
    assert [row.field for row in rows] == [(5, 5), (6, 6), (14, 14), (16, 16), None]
    assert rows[0].cells() == ("Conv", "conv", "6", "5", "1", "0", "6 x 24x24", "156", "86,400", "5")
    assert rows[4].cells()[-1] == "all"


def test_a_picture_is_padded_to_the_networks_multiple_first():
    assert table([conv(padding=1)], height=30, width=17, multiple_of=16)[0].output == (32, 32)


def test_groups_divide_the_multiply_adds():
    depthwise = Layer(op="Conv", name="dw", inputs=(PICTURE,), channels=8, filters=8, size=(3, 3), groups=8)
    assert table([depthwise], height=4, width=4)[0].multiply_adds == 2 * 2 * 9 * 8


def test_attention_pairs_every_place_with_every_other_and_sees_all():
    attention = Layer(op="Attention", name="scores", inputs=(PICTURE,), channels=8, filters=8)
    row = table([attention], height=4, width=2)[0]
    assert (row.output, row.multiply_adds, row.field) == ((4, 2), 8 * 8 * 8, None)


def test_the_longer_way_to_the_picture_counts():
    # A skip past a 3x3 and the 3x3 itself are summed, then read by another 3x3: 5, not 3.
    assert receptive_field([conv(size=1), conv(0), conv(0, 1)], 2) == (5, 5)


def test_after_upsampling_the_place_that_sees_most_counts():
    # Halved by 2x2 and doubled again, a 3x3 sees its own pair and half of a neighbour's: 4 pixels at every place.
    layers = [conv(size=2, stride=2), moved("DepthToSpace", 0), conv(1)]
    assert receptive_field(layers, 2) == (4, 4)
    # With a 5x5 a place sees two pixels to each side, which lie in three pairs.
    assert receptive_field([*layers[:2], conv(1, size=5)], 2) == (6, 6)


def test_a_repeated_value_reads_one_place():
    assert moved("Repeat").seen((4, 5), 0) == (2, 2)
    assert moved("Repeat").seen((5, 6), 0) == (2, 3)


def test_a_bilinear_output_reads_the_two_places_around_it():
    # At a factor of 2 output 4 lies at 4.5 / 2 - 0.5 = 1.75, between 1 and 2, and output 5 at 2.25.
    assert moved("Resize").seen((4, 4), 0) == (1, 2)
    assert moved("Resize").seen((5, 5), 0) == (2, 3)
    # At a factor of 3 the middle one of three lies on its place.
    assert moved("Resize", factor=3).seen((4, 4), 0) == (1, 1)


def test_a_settings_features_are_laid_over_the_picture():
    palette = Layer(op="Gemm", name="palette", inputs=(), channels=8, filters=4)
    rows = table([palette, conv(PICTURE, 0)], height=8, width=8)
    assert [row.output for row in rows] == [(1, 1), (6, 6)]
    # The palette is no part of the picture, and so the convolution does not see all of it.
    assert rows[1].field == (3, 3)


def test_a_list_of_layers_comes_back_from_its_json():
    assert from_json(to_json(LENET)) == LENET


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ('{"schema": 2, "layers": []}', "has schema 2, not 1. Upgrade Restore."),
        ('{"schema": 1, "layers": [{"op": "Conv"}]}', "cannot be read"),
        (to_json([conv(3)]), "is wrong at 'conv'"),
        (to_json([Layer(op="Fourier", name="f", inputs=(), channels=1, filters=1)]), "is wrong at 'f'"),
    ],
)
def test_a_wrong_list_of_layers_is_refused(text, message):
    with pytest.raises(UnsupportedModel, match=message):
        from_json(text)


def test_a_picture_that_is_used_up_is_refused():
    with pytest.raises(BadOption, match="--size 8x8 is too small: nothing is left of it after conv2"):
        table(LENET, height=8, width=8)
    with pytest.raises(BadOption, match="--size 0x5 is no picture"):
        table(LENET, height=5, width=0)


def test_a_filter_that_fits_says_the_sum():
    fit = explain_fit((7, 7), filter=3, stride=2)
    assert fit.output == (3, 3)
    assert fit.text == "7x7, filter 3, stride 2, padding 0: gives 3x3. (7 - 3 + 2 * 0) / 2 + 1 = 3."


def test_a_filter_that_does_not_fit_says_what_would():
    fit = explain_fit((7, 7), filter=3, stride=3)
    assert fit.output is None
    assert fit.text == (
        "7x7, filter 3, stride 3, padding 0: does not fit. (7 - 3 + 2 * 0) / 3 + 1 = 2.333 is no whole number.\n"
        "Stride 2 gives 3x3. Stride 4 gives 2x2. Padding 1 gives 3x3."
    )


def test_both_sides_must_fit_with_the_same_stride():
    # 10 wide and 7 high: a stride of 2 fits the height alone, 1 and 4 fail on one of them as well.
    fit = explain_fit((7, 10), filter=3, stride=2)
    assert "(10 - 3 + 2 * 0) / 2 + 1 = 4.5 is no whole number" in fit.text
    assert "Stride 1 gives 8x5." in fit.text


def test_a_filter_larger_than_the_picture_says_so():
    assert "The filter is larger than 3 + 2 * 0 pixels." in explain_fit((3, 3), filter=5).text


@pytest.mark.parametrize("wrong", [{"filter": 0}, {"filter": 3, "stride": 0}, {"filter": 3, "padding": -1}])
def test_numbers_that_no_layer_can_have_are_refused(wrong):
    with pytest.raises(BadOption, match="cannot be"):
        explain_fit((7, 7), **wrong)


def test_the_command_answers_and_exits_with_1_where_nothing_fits(run):
    fits = run("layer", "--input", "32x16", "--filter", "5", "--padding", "2")
    assert (fits.exit_code, fits.stdout.split(". ")[0]) == (0, "32x16, filter 5, stride 1, padding 2: gives 32x16")
    assert run("layer", "--input", "7x7", "--filter", "3", "--stride", "3").exit_code == 1


def test_a_size_that_is_none_is_one_sentence(run):
    result = run("layer", "--input", "7", "--filter", "3")
    assert result.exit_code == 2
    assert result.stderr == "Error: --input 7 is not a size. Write WIDTHxHEIGHT in pixels, 1920x1080 for example.\n"


def test_a_model_shows_its_layers(run, smoother, layered):
    lines = run("models", "show", str(layered), "--layers", "--size", "30x20").stdout.splitlines()
    assert lines[0].split() == ["op", "name", "K", "F", "S", "P", "output", "parameters", "multiply-adds", "sees"]
    assert lines[1].split() == ["Conv", "conv", "1", "3", "1", "1", "1", "x", "30x20", "10", "5,400", "3"]
    assert lines[-1] == "10 parameters, 5,400 multiply-adds for 30x20 pixels."


def test_layers_are_json_for_machines(run, layered):
    facts = json.loads(run("models", "show", str(layered), "--layers", "--size", "30x20", "--json").stdout)
    assert facts["size"] == [30, 20]
    assert facts["layers"][0]["output"] == [20, 30]
    assert facts["layers"][0]["layer"]["parameters"] == 10


def test_a_file_without_a_list_of_layers_says_so(run):
    result = run("models", "show", "denoise", "--layers")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: denoise-fast: the file does not list its layers.")


def test_a_classifier_shows_its_layers_at_its_own_size_and_a_planner_none(run, monkeypatch):
    monkeypatch.delenv("RESTORE_MODELS")
    monkeypatch.setattr(store, "BUNDLED", Path(restore.__file__).parent / "weights")
    said = run("models", "show", "classify", "--layers").stdout
    assert said.endswith("44,426 parameters, 281,640 multiply-adds for 28x28 pixels.\n")
    assert "16 x 4x4" in said
    refused = run("models", "show", "classify", "--layers", "--size", "512x512")
    assert refused.stderr == "Error: --size 512x512: classify-fast takes 28x28 pixels alone.\n"
    assert "its layers have no one size" in run("models", "show", "plan", "--layers").stderr


def test_a_size_without_layers_is_wrong_usage(run):
    result = run("models", "show", "denoise", "--size", "3x3")
    assert (result.exit_code, "--size is for --layers" in result.stderr) == (2, True)


@pytest.fixture
def layered(smoother, tmp_path):
    """The smoother with a list of layers: one 3x3 of its own invention."""
    import onnx

    from restore.layers import LAYERS_KEY

    model = onnx.load(smoother / "denoise-fast.onnx")
    one = conv(padding=1, parameters=10)
    model.metadata_props.add(key=LAYERS_KEY, value=to_json([one]))
    onnx.save(model, tmp_path / "layered.onnx")
    return tmp_path / "layered.onnx"
