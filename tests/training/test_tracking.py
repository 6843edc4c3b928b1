"""Progress: every item comes through, and a log is told how far it is."""

from __future__ import annotations

from training import tracking
from training.tracking import tracked


def test_a_log_gets_a_line_when_it_has_heard_nothing_for_long(monkeypatch, capsys):
    monkeypatch.setattr(tracking, "_PAUSE", 0.0)
    assert list(tracked(iter("ab"), "photos", 2)) == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == ["photos: 1 of 2", "photos: 2 of 2"]


def test_what_is_done_soon_is_not_talked_about(capsys):
    assert list(tracked(range(1000), "photos", 1000)) == list(range(1000))
    assert capsys.readouterr() == ("", "")


def test_a_person_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(tracked("abc", "photos", 3)) == ["a", "b", "c"]
    assert "photos" in capsys.readouterr().err
