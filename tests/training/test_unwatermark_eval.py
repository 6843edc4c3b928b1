"""Watermark removal, measured: the sets, the figures by hand, and what is published."""

from __future__ import annotations

import argparse
import json
import shutil

import numpy as np
import pytest
import torch

from restore.engine import open_model
from restore.image import Image
from training import TrainingError
from training.__main__ import main
from training.data import Member
from training.tables import published_figures
from training.unwatermark_eval import Kept, MarkReport, Row, Scores, _crop, _inpaint, _mean, measure, spread


def test_an_exported_remover_leaves_what_its_mask_leaves_out(tiny_remover, make_photo):
    remove = open_model(tiny_remover, device="cpu")
    assert [tensor.name for tensor in remove.spec.tensors] == ["mask_in", "use_mask"]
    assert (remove.spec.reach, remove.spec.working_size) == (None, 1024)
    photo = Image(make_photo(45, 1100))
    brushed = np.zeros((45, 1100), bool)
    brushed[10:30, 200:900] = True
    for mask, looks in ((None, 1), (None, 4), (brushed, 8), (brushed, 1)):
        done = remove(photo, mask=mask, certainty=0.0, self_ensemble=looks)
        np.testing.assert_array_equal(done.image.pixels[done.mask == 0], photo.pixels[done.mask == 0])
    np.testing.assert_array_equal(done.mask > 0, brushed)
    assert (done.image.pixels != photo.pixels)[brushed].any()


def test_one_run_measures_four_sets_and_unmarked_photos(tiny_remover, photo_folder, mark_folder, tmp_path, capsys):
    out = tmp_path / "report.json"
    words = ["eval", "unwatermark", "--data", str(photo_folder), "--marks", str(mark_folder)]
    words += ["--model", str(tiny_remover), "--clwd", "2", "--hard", "1", "--large", "1", "--megapixels", "0.02"]
    words += ["--sent", "1", "--unmarked", "5", "--baselines", "--told", "--self-ensemble", "1", "2"]
    words += ["--sheets", str(tmp_path / "sheets"), "--out", str(out)]
    assert main(words) == 0
    plain = json.loads(out.read_text())
    assert plain["pictures"] == {"clwd": 2, "hard": 1, "large": 1, "sent": 1}
    assert [row["method"] for row in plain["rows"]["hard"]] == [
        "nothing done", "Telea, told the mask", "Navier-Stokes, told the mask", "`unwatermark-fast`",
        "`unwatermark-fast`, 2 looks", "`unwatermark-fast`, certainty 0", "`unwatermark-fast`, 2 looks, certainty 0",
        "`unwatermark-fast`, told the mask", "`unwatermark-fast`, 2 looks, told the mask",
    ]  # fmt: skip
    # The split has one photo.
    assert [kept["photos"] for kept in plain["kept"]] == [1, 1]
    assert plain["strayed"] == 0
    assert plain["markdown"] in capsys.readouterr().out
    assert (tmp_path / "sheets/clwd.png").is_file()
    figures = published_figures(out, "unwatermark-fast").figures
    assert set(figures) == {f"{f}/{s}" for f in ("psnr", "f1", "iou") for s in plain["pictures"]} | {"kept/unmarked"}


def test_two_files_of_one_name_are_told_apart(tiny_remover, photo_folder, mark_folder, tmp_path):
    other = shutil.copy(tiny_remover, tmp_path / "other.onnx")
    args = argparse.Namespace(
        data=photo_folder, marks=mark_folder, model=[str(tiny_remover), str(other)], split="test", threads=1, clwd=1,
        hard=0, large=0, sent=0, unmarked=1, megapixels=12.0, baselines=False, told=False,
        sheets=None, self_ensemble=[1],
    )  # fmt: skip
    report = measure(args, "")
    assert [row.model for row in report.rows["clwd"]] == [str(tiny_remover), str(other), None, None]
    assert {kept.model for kept in report.kept} == set(report.published()) == {str(tiny_remover), str(other)}


def test_published_are_the_networks_own_figures():
    scores = Scores(30.0, 0.9, 8.0, 20.0, 0.8, 0.7, 0.1)
    rows = {"clwd": [Row(method="nothing done", scores=scores), Row(method="`m`", scores=scores, model="m")]}
    report = MarkReport(command="c", split="test", pictures={"clwd": 1}, rows=rows)
    report.kept.append(Kept(method="`m`", identical=49, photos=50, model="m"))
    # More looks are another way to use the same network.
    report.kept.append(Kept(method="`m`, 4 looks", identical=50, photos=50))
    wanted = {"psnr/clwd": 30.0, "f1/clwd": 0.8, "iou/clwd": 0.7, "kept/unmarked": 0.98}
    assert report.published() == {"m": wanted}
    assert "49 of 50 (98.0%)" in report.to_markdown()


def test_a_mean_leaves_out_what_a_picture_does_not_have():
    nan = float("nan")
    one, two = Scores(20, 0.5, 2, nan, nan, nan, 1), Scores(30, 0.7, 4, 6, nan, nan, 3)
    mean = _mean([one, two])
    assert mean[:4] == pytest.approx((25, 0.6, 3, 6))
    assert np.isnan(mean.f1)


def test_inpainting_works_inside_the_mask_alone():
    marked = np.full((20, 20, 3), 90, np.uint8)
    marked[8:11, 8:11] = 255
    truth = (marked == 255).all(axis=2)
    for flow in (False, True):
        answer, mask = _inpaint(marked, truth, flow=flow)
        # Rounding moves the plain ground by a level; outside nothing moves.
        np.testing.assert_allclose(answer.astype(int), 90, atol=1)
        assert set(answer[~truth].flat) == {90}
        np.testing.assert_array_equal(mask, 255 * truth)


def test_a_square_is_cut_from_a_photo_of_any_size():
    for height, width in ((300, 400), (100, 90)):
        photo = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
        assert _crop(photo, np.random.default_rng(0)).shape == (3, 256, 256)


def test_the_order_of_photos_is_fixed_and_holds_each_once(tmp_path):
    photos = [Member(tmp_path / f"{i}", f"{i}", "test") for i in range(20)]
    mixed = spread(photos)
    assert mixed != photos
    assert mixed == spread(photos)
    assert sorted(mixed, key=lambda m: int(m.name)) == photos


def test_a_model_for_another_task_is_refused(tiny_denoiser, photo_folder, mark_folder):
    args = argparse.Namespace(
        data=photo_folder, marks=mark_folder, model=[str(tiny_denoiser)], split="test", threads=1, clwd=1, hard=0,
        large=0, sent=0, unmarked=0,
    )  # fmt: skip
    with pytest.raises(TrainingError, match="denoise-fast is for the task denoise"):
        measure(args, "")
