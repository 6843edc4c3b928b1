"""What an autoencoder's code is measured against: JPEG, on the same photos."""

from __future__ import annotations

import dataclasses
import json

import pytest

from restore.reproduce import Reproduction
from training.reproduce_eval import BesideJpeg, ReproduceReport


def done(psnr: float, jpeg_psnr: float | None) -> Reproduction:
    return Reproduction(image=None, psnr=psnr, code_bytes=100, jpeg_psnr=jpeg_psnr, unlike=None)


@pytest.fixture
def report() -> ReproduceReport:
    return ReproduceReport(
        model="m", photos=3, psnr=30.0, bits_per_pixel=0.2, beside_jpeg=BesideJpeg(0, None, None),
        better_than_jpeg=1.0, auroc={"text": (0.5, 0.9)}, alarms=0.05, typical="{}", command="eval reproduce",
    )  # fmt: skip


def test_code_and_jpeg_are_compared_on_the_photos_that_have_both(report):
    # The third photo, which JPEG cannot make so small, is no part of either mean.
    beside = BesideJpeg.of([done(30, 26), done(28, 24), done(20, None)])
    assert beside == (2, 29, 25)
    lines = dataclasses.replace(report, beside_jpeg=beside).to_markdown().splitlines()
    assert "| the code of m | 30.00 | 0.200 |" in lines
    assert "| the code, on the 2 photos that have a JPEG of the same bytes or less | 29.00 | |" in lines
    assert "| that JPEG | 25.00 | |" in lines


def test_without_any_such_jpeg_the_report_says_so_in_words_that_json_knows(report):
    assert BesideJpeg.of([done(30, None)]) == (0, None, None)
    assert "there is none | - |" in report.to_markdown()
    assert json.loads(report.to_json())["beside_jpeg"] == {"photos": 0, "code": None, "jpeg": None}
