"""What a run tells."""

from __future__ import annotations

import sys

import pytest
import torch

from training.report import Report
from training.schedule import Progress
from training.settings import Settings

LOSS = torch.tensor(0.25)


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def test_the_progress_line_says_what_is_left(tmp_path, capsys):
    report = Report(tmp_path, Settings(steps=400), quiet=False)
    # A quarter took ten minutes, so three quarters take thirty.
    report.step(Progress(step=100, elapsed=600.0), LOSS)
    report.close()
    assert capsys.readouterr().err.endswith("step 100  25.0 %  loss 0.25000  6.000 s/step  30 min left\n")


def test_without_a_terminal_there_is_a_line_a_minute_and_one_at_the_end(tmp_path, capsys):
    report = Report(tmp_path, Settings(steps=100), quiet=False)
    for step in range(1, 101):
        report.step(Progress(step=step, elapsed=2.0 * step), LOSS)
    report.close()
    lines = [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("step")]
    assert lines == ["1", "31", "61", "91", "100"]


def test_on_a_terminal_the_line_is_written_over(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    report = Report(tmp_path, Settings(steps=100), quiet=False)
    for step in (1, 2):
        report.step(Progress(step=step, elapsed=2.0 * step), LOSS)
    report.say("saved")
    report.close()
    first, second, said, last = capsys.readouterr().err.split("\r\x1b[K")[2:]
    assert first.startswith("step 1 ")
    assert second.startswith("step 2 ")
    assert "\n" not in first + second
    assert (said, last) == ("saved\n", "")


def test_what_is_said_and_found_is_in_the_log_too(tmp_path):
    report = Report(tmp_path, Settings(), quiet=False)
    report.say("hello")
    report.figures(Progress(step=7, elapsed=90.0), {"psnr/25": 30.5})
    report.close()
    assert (tmp_path / "log.txt").read_text().splitlines()[1:] == ["hello", "step 7  1.5 min  val psnr/25 30.500"]


def test_a_process_that_does_not_lead_says_nothing_and_writes_nothing(tmp_path, capsys):
    report = Report(tmp_path / "run", Settings(), quiet=True)
    report.say("hello")
    report.step(Progress(step=1, elapsed=1.0), LOSS)
    report.close()
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "run").exists()
