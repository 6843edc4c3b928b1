"""Evaluation: the same noise for every row, figures by hand, baselines remembered."""

from __future__ import annotations

import json
import math
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from restore import image as image_module
from restore.engine import open_model
from restore.errors import BadOption, ModelNotFound
from restore.image import Image
from training import TrainingError, denoise_methods, evaluate
from training.denoise_methods import NOISY, Method, model_methods
from training.evaluate import evaluate_clean, measure, read_pictures
from training.tables import published_figures
from training.white_noise import add_noise


@pytest.fixture
def grey() -> list[Image]:
    """Two plain pictures of middle grey, on which noise of 25 is hardly ever clipped (five sigma)."""
    return [Image(np.full((64, 80, 3), level, np.uint8)) for level in (127, 128)]


@pytest.fixture
def folder(tmp_path, make_photo):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(2):
        PillowImage.fromarray(make_photo(32, 40, index)).save(folder / f"{index}.png")
    (folder / "README.txt").write_text("not a picture")
    return folder


def remembering(seen: list) -> Method:
    def denoise(noisy, sigma):
        seen.append((noisy.copy(), sigma))
        return np.zeros_like(noisy)

    return Method(name="black", denoise=denoise)


def test_noise_is_what_the_module_says_it_is():
    clean = np.full((4, 5, 3), 0.5, np.float32)
    normal = np.random.default_rng([7, 2, 25]).standard_normal((4, 5, 3), dtype=np.float32)
    np.testing.assert_allclose(add_noise(clean, seed=7, index=2, sigma_255=25), 0.5 + 25 / 255 * normal, atol=1e-6)


def test_the_noisy_row_is_minus_20_log_sigma(grey):
    (row,) = evaluate.evaluate(grey, [NOISY], sigmas=[10, 25])
    for sigma in (10, 25):
        # 30,720 samples: the variance is known to 0.8 %, which is 0.035 dB; three of these.
        assert row.scores[sigma].psnr == pytest.approx(-20 * math.log10(sigma / 255), abs=0.105)


def test_answers_are_clipped_but_not_rounded(grey):
    off = Method(name="off", denoise=lambda noisy, _: np.full_like(noisy, 127 / 255 + 0.0005))
    above = Method(name="above", denoise=lambda noisy, _: np.full_like(noisy, 2.0))
    first, second = evaluate.evaluate(grey[:1], [off, above], sigmas=[25])
    # Rounding to 8 bit would take 0.0005 (an eighth of a level) to 0; an answer of 2 counts as 1.
    assert first.scores[25].psnr == pytest.approx(-20 * math.log10(0.0005), abs=0.01)
    assert second.scores[25].psnr == pytest.approx(-20 * math.log10(128 / 255), abs=0.01)


def test_a_row_is_the_mean_over_pictures_in_db(grey):
    black = Method(name="black", denoise=lambda noisy, _: np.zeros_like(noisy))
    (row,) = evaluate.evaluate(grey, [black], sigmas=[25])
    expected = (-20 * math.log10(127 / 255) - 20 * math.log10(128 / 255)) / 2
    assert row.scores[25].psnr == pytest.approx(expected, abs=1e-4)


def test_every_row_gets_the_same_noise(grey):
    first, second = [], []
    evaluate.evaluate(grey, [remembering(first), remembering(second)], sigmas=[15, 50], seed=3)
    assert [sigma for _, sigma in first] == pytest.approx([15 / 255, 15 / 255, 50 / 255, 50 / 255])
    for (one, _), (other, _) in zip(first, second, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(first[0][0] - 127 / 255, first[1][0] - 128 / 255)


def test_a_grey_picture_gets_the_noise_of_one_channel():
    seen = []
    evaluate.evaluate([Image(np.full((64, 80), 127, np.uint8))], [remembering(seen)], sigmas=[25])
    ((noisy, sigma),) = seen
    assert noisy.shape == (64, 80, 3)
    assert sigma == 25 / 255
    assert (noisy == noisy[..., :1]).all()
    # 5,120 samples: the deviation is known to 1 %.
    assert (noisy - 127 / 255).std() == pytest.approx(25 / 255, rel=0.03)


def test_the_same_pictures_in_grey_have_a_table_and_figures_of_their_own(folder, tiny_denoiser):
    report = measure(folder, models=[str(tiny_denoiser)], baselines=[], sigmas=[25], grey=True)
    assert [row.method for row in report.grey] == ["noisy picture", *(row.method for row in report.rows[1:])]
    assert "The same pictures in grey, with the noise of one channel." in report.to_markdown()
    figures = report.published()["denoise-fast"]
    assert figures["psnr/grey 25"] == round(report.grey[1].scores[25].psnr, 3)
    assert figures["psnr/grey 25"] != figures["psnr/25"]
    assert json.loads(report.to_json())["grey"][0]["scores"]["25"]["psnr"] == report.grey[0].scores[25].psnr


def test_another_seed_is_other_noise(grey):
    seen = []
    for seed in (0, 1):
        evaluate.evaluate(grey[:1], [remembering(seen)], sigmas=[15], seed=seed)
    assert not np.array_equal(seen[0][0], seen[1][0])


def test_a_method_with_a_version_is_measured_once(grey, tmp_path):
    calls = []

    def denoise(noisy, sigma):
        calls.append(sigma)
        return noisy

    slow = Method(name="slow", denoise=denoise, version="slow-1")
    first = evaluate.evaluate(grey, [slow], sigmas=[15, 25], cache=tmp_path)
    assert len(calls) == 4
    assert evaluate.evaluate(grey, [slow], sigmas=[15, 25], cache=tmp_path) == first
    assert len(calls) == 4
    # Another seed, another place in the order or another version is another measurement.
    evaluate.evaluate(grey, [slow], sigmas=[15], seed=1, cache=tmp_path)
    evaluate.evaluate(grey[::-1], [slow], sigmas=[15], cache=tmp_path)
    evaluate.evaluate(grey, [Method(name="slow", denoise=denoise, version="slow-2")], sigmas=[15], cache=tmp_path)
    assert len(calls) == 4 + 2 + 2 + 2


def test_non_local_means_reports_its_best_strength(make_photo, monkeypatch):
    monkeypatch.setattr(denoise_methods, "_NLM_STRENGTHS", (0.01, 0.6))
    pictures = [Image(make_photo(48, 48))]
    row = evaluate.measure_baseline("nlm", pictures, sigmas=[25], seed=0, cache=None)
    (noisy,) = evaluate.evaluate(pictures, [NOISY], sigmas=[25])
    # h = 0.01 sigma does nothing at all.
    assert row.method == "OpenCV non-local means, h = 0.6 sigma"
    assert row.scores[25].psnr > noisy.scores[25].psnr + 2


def test_bm3d_runs_where_its_package_is(folder, monkeypatch, capsys):
    fake = types.SimpleNamespace(bm3d_rgb=lambda noisy, sigma: np.full_like(noisy, 0.5))
    monkeypatch.setitem(sys.modules, "bm3d", fake)
    monkeypatch.setattr("importlib.metadata.version", lambda _: "4.0")
    report = measure(folder, models=[], baselines=["bm3d"], sigmas=[25])
    assert [row.method for row in report.rows] == ["noisy picture", "BM3D"]


def test_bm3d_is_left_out_where_its_package_is_missing(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    report = measure(folder, models=[], baselines=["bm3d"], sigmas=[25])
    assert [row.method for row in report.rows] == ["noisy picture"]
    assert "left out: the baseline bm3d needs its package" in capsys.readouterr().err


# Models


def test_a_model_is_measured_told_the_noise_and_blind(folder, tiny_denoiser):
    report = measure(folder, models=[str(tiny_denoiser)], baselines=[], sigmas=[25])
    assert [row.method for row in report.rows] == [
        "noisy picture",
        f"{tiny_denoiser}, sigma known",
        f"{tiny_denoiser}, blind",
    ]
    assert [row.model for row in report.rows] == [None, "denoise-fast", None]


def test_a_checkpoint_and_its_export_measure_alike(folder, tiny_checkpoint, tiny_denoiser):
    report = measure(folder, models=[str(tiny_checkpoint), str(tiny_denoiser)], baselines=[], sigmas=[25])
    _, torch_row, onnx_row, _ = report.rows
    # The export rounds the weights to float16: a relative 5e-4 a weight.
    assert torch_row.scores[25].psnr == pytest.approx(onnx_row.scores[25].psnr, abs=0.02)


def test_a_checkpoint_takes_pictures_of_any_size(tiny_checkpoint):
    (method,), restorer = model_methods(str(tiny_checkpoint))
    assert restorer is None
    noisy = np.random.default_rng(0).random((5, 7, 3), dtype=np.float32)
    whole = np.pad(noisy, ((0, 3), (0, 1), (0, 0)), mode="reflect")
    # The sides are mirrored to multiples of 4, so mirroring by hand changes nothing.
    np.testing.assert_allclose(method.denoise(noisy, 0.1), method.denoise(whole, 0.1)[:5, :7], atol=1e-6)


def test_an_unknown_model_is_refused_before_anything_is_measured(folder):
    with pytest.raises(ModelNotFound, match="no model is called 'sharpen'"):
        measure(folder, models=["sharpen"], baselines=["nlm"], sigmas=[25])


def test_clean_pictures_that_come_back_count_as_100_db(grey):
    class HalfHearted:
        """Leaves the first picture as it is, and makes the second one level brighter."""

        def __call__(self, image, *, self_ensemble):
            pixels = image.pixels if image.pixels[0, 0, 0] == 127 else image.pixels + 1
            return types.SimpleNamespace(image=Image(pixels))

    (row,) = evaluate_clean(grey, {"half": HalfHearted()})
    one_level = 20 * math.log10(255)  # 48.13 dB
    assert row.unchanged == 1
    assert row.lowest == pytest.approx(one_level, abs=1e-3)
    assert row.mean == pytest.approx((100 + one_level) / 2, abs=1e-3)


def test_a_picture_of_which_two_samples_changed_is_not_unchanged():
    picture = Image(np.full((400, 400, 3), 100, np.uint8))

    def nearly(image, *, self_ensemble):
        pixels = image.pixels.copy()
        pixels[7, 9, :2] += 1
        return types.SimpleNamespace(image=Image(pixels))

    (row,) = evaluate_clean([picture], {"nearly": nearly})
    # Two of 480,000 samples off by one are 101.9 dB, above what counts as equal.
    assert (row.mean, row.unchanged) == (100, 0)


def test_a_sigma_beyond_a_models_range_is_refused_before_anything_is_measured(folder, tiny_denoiser, capsys):
    with pytest.raises(BadOption, match="--sigma 90 is above 75, the strongest noise denoise-fast was trained on"):
        measure(folder, models=[str(tiny_denoiser)], baselines=[], sigmas=[25, 90])
    assert "noisy picture" not in capsys.readouterr().err


def test_pictures_of_16_bits_are_measured_in_grey_too(tmp_path, make_photo, tiny_denoiser):
    image_module.write(Image(make_photo(32, 40).astype(np.uint16) * 257), tmp_path / "deep.png")
    report = measure(tmp_path, models=[str(tiny_denoiser)], baselines=[], sigmas=[25], grey=True)
    assert len(report.grey) == 3


# Folders, tables and reports


def test_pictures_come_by_name_and_only_the_first_of_them(folder, make_photo):
    assert len(read_pictures(folder)) == 2
    (first,) = read_pictures(folder, limit=1)
    assert np.array_equal(first.pixels, make_photo(32, 40, 0))


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no such folder"):
        read_pictures(tmp_path / "gone")
    with pytest.raises(TrainingError, match="no picture in this folder"):
        read_pictures(tmp_path)


def test_a_picture_that_is_too_small_for_ssim_is_named(tmp_path):
    PillowImage.new("RGB", (40, 10)).save(tmp_path / "small.png")
    with pytest.raises(TrainingError, match=r"small\.png: smaller than the 11 pixels a side"):
        read_pictures(tmp_path)


def test_a_report_is_a_pipe_table_and_json(folder, tiny_denoiser):
    command = "python -m training eval denoise"
    report = measure(folder, models=[str(tiny_denoiser)], baselines=[], sigmas=[15, 25], clean=True, command=command)
    lines = report.to_markdown().splitlines()
    assert lines[2] == "| method | sigma 15 | sigma 25 | s a picture |"
    noisy = report.rows[0].scores
    assert lines[4].startswith(
        f"| noisy picture | {noisy[15].psnr:.2f} / {noisy[15].ssim:.4f} | {noisy[25].psnr:.2f} / "
    )
    assert f"| {tiny_denoiser}, blind | " in lines[-1]
    plain = json.loads(report.to_json())
    assert plain["pictures"] == 2
    assert plain["command"] == command
    assert plain["rows"][0]["scores"]["25"]["psnr"] == noisy[25].psnr
    assert plain["clean"][0]["unchanged"] == report.clean[0].unchanged


def test_publishing_takes_the_figures_of_the_model_that_was_told_the_noise(folder, tiny_denoiser, tmp_path):
    report = measure(folder, models=[str(tiny_denoiser)], baselines=[], sigmas=[15, 25], command="the command")
    path = tmp_path / "report.json"
    path.write_text(report.to_json())
    told = report.rows[1].scores
    figures, command, *_ = published_figures(path, "denoise-fast")
    assert figures == {"psnr/15": round(told[15].psnr, 3), "psnr/25": round(told[25].psnr, 3)}
    assert command == "the command"
    with pytest.raises(TrainingError, match="no figures of denoise-best"):
        published_figures(path, "denoise-best")


def test_what_is_no_report_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    for path in (tmp_path / "a.json", tmp_path / "gone.json"):
        with pytest.raises(TrainingError, match="not a report of python -m training eval --out"):
            published_figures(path, "denoise-fast")


def test_a_network_in_torch_is_not_left_collecting_gradients(tiny_checkpoint):
    (method,), _ = model_methods(str(tiny_checkpoint))
    method.denoise(np.zeros((8, 8, 3), np.float32), 0.1)
    assert torch.is_grad_enabled()


# Photos with noise of their own


@pytest.fixture
def pairs(tmp_path):
    """Two truths of grey 100; one photo is 10 too bright everywhere, the other 1."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, off in (("a", 10), ("b", 1)):
        for kind, level in (("mean", 100), ("real", 100 + off)):
            PillowImage.fromarray(np.full((16, 24, 3), level, np.uint8)).save(folder / f"{name}_{kind}.PNG")
    return folder


def test_photos_are_measured_as_they_are(pairs, smoother):
    noisy, model = evaluate.evaluate_photos(
        evaluate.read_pairs(pairs), {"denoise-fast": open_model(smoother / "denoise-fast.onnx")}
    )
    expected = (-20 * math.log10(10 / 255) - 20 * math.log10(1 / 255)) / 2
    assert noisy.psnr == pytest.approx(expected, abs=1e-4)
    assert (noisy.worse, noisy.model, model.model) == (0.0, None, "denoise-fast")
    # A flat picture has no noise for the smoother: it comes back as it is.
    assert model.psnr == pytest.approx(expected, abs=1e-4)


def test_the_share_made_worse_is_told(pairs):
    def blacken(image, *, self_ensemble):
        return types.SimpleNamespace(image=Image(np.where(image.pixels > 105, 100, 90).astype(np.uint8)))

    blacken.spec = types.SimpleNamespace(name="spoiler")
    spoiler = evaluate.evaluate_photos(evaluate.read_pairs(pairs), {"spoiler": blacken})[1]
    # a, of 110, becomes the truth; b, of 101, becomes 90.
    assert spoiler.worse == 0.5


def test_a_loss_of_a_tenth_of_a_decibel_counts_as_worse(tmp_path):
    for index, name in enumerate("ab"):
        for kind, level in (("mean", 100), ("real", 200)):
            pixels = np.full((16, 24, 3), level + index, np.uint8)
            PillowImage.fromarray(pixels).save(tmp_path / f"{name}_{kind}.png")
    answers = iter([201, 204])

    def spoil(image, *, self_ensemble):
        return types.SimpleNamespace(image=Image(np.full_like(image.pixels, next(answers))))

    spoil.spec = types.SimpleNamespace(name="spoiler")
    spoiler = evaluate.evaluate_photos(evaluate.read_pairs(tmp_path), {"spoiler": spoil})[1]
    # An error of 101 where it was 100 is 0.09 dB, one of 103 is 0.26 dB.
    assert spoiler.worse == 0.5


def test_pairs_of_two_sizes_are_refused(pairs):
    PillowImage.new("RGB", (24, 17)).save(pairs / "a_mean.PNG")
    with pytest.raises(TrainingError, match=r"a_real\.PNG: not of the same size as a_mean\.PNG"):
        evaluate.read_pairs(pairs)


def test_another_truth_is_measured_anew(pairs, tmp_path):
    def baseline() -> float:
        rows = evaluate.evaluate_photos(evaluate.read_pairs(pairs), {}, baselines=["nlm"], cache=tmp_path / "cache")
        return rows[1].psnr

    first = baseline()
    for name in ("a", "b"):
        PillowImage.new("RGB", (24, 16), (200, 200, 200)).save(pairs / f"{name}_mean.PNG")
    assert baseline() < first - 10


def test_a_folder_without_pairs_is_refused(pairs):
    (pairs / "b_mean.PNG").unlink()
    with pytest.raises(TrainingError, match=r"no pairs NAMEreal\.jpg and NAMEmean\.jpg"):
        evaluate.read_pairs(pairs)


def test_photos_stand_in_the_table_and_in_the_published_figures(pairs, folder, tiny_denoiser, tmp_path, capsys):
    report = measure(folder, models=[str(tiny_denoiser)], baselines=["nlm"], sigmas=[25], photos=pairs)
    assert "Photos with noise of their own, pairs, 2 pairs, as they are" in report.to_markdown()
    strengths = [f"OpenCV non-local means, h = {h}" for h in (2, 3, 4, 5, 6, 8)]
    assert [row.method for row in report.photos[1:7]] == strengths
    (tmp_path / "report.json").write_text(report.to_json())
    figures, _, tables, *_ = published_figures(tmp_path / "report.json", "denoise-fast")
    assert figures["psnr/pairs"] == round(report.photos[-1].psnr, 3)
    # In what is published the file goes by its name, not by where it lay.
    assert "| denoise-fast, sigma known |" in tables
