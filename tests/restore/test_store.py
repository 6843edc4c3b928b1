"""From a name to a model file, checked against its manifest."""

from __future__ import annotations

import os

import pytest

from restore import store
from restore.errors import ModelNotFound, UnsupportedModel


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of models with one entry, the only one that is looked at."""
    (tmp_path / "denoise-fast.onnx").write_bytes(b"weights")
    store.publish(tmp_path, "denoise-fast", task="denoise", tier="fast", about={"licence": "CC0"})
    monkeypatch.setattr(store, "BUNDLED", tmp_path)
    monkeypatch.delenv("RESTORE_MODELS", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", ["denoise", "denoise-fast"])
def test_a_task_and_a_name_lead_to_the_file(shelf, name):
    assert store.find(name) == shelf / "denoise-fast.onnx"


def test_a_task_means_its_tier_fast(shelf):
    (shelf / "denoise-best.onnx").write_bytes(b"more weights")
    store.publish(shelf, "denoise-best", task="denoise", tier="best", about={})
    assert store.find("denoise").name == "denoise-fast.onnx"
    assert store.find("denoise-best").name == "denoise-best.onnx"


def test_a_path_needs_no_manifest(shelf, tmp_path):
    other = tmp_path / "mine.onnx"
    other.write_bytes(b"anything")
    assert store.find(other) == other


def test_the_users_folder_comes_before_the_bundled_one(shelf, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "denoise-fast.onnx").write_bytes(b"other")
    store.publish(mine, "denoise-fast", task="denoise", tier="fast", about={})
    monkeypatch.setenv("RESTORE_MODELS", str(mine))
    assert store.find("denoise") == mine / "denoise-fast.onnx"


def test_a_users_folder_without_models_is_not_passed_over_in_silence(shelf, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("RESTORE_MODELS", os.pathsep.join(map(str, (shelf, tmp_path / "empty", tmp_path / "gone"))))
    with pytest.raises(ModelNotFound, match=r"RESTORE_MODELS: no folder of models, .*empty, .*gone$"):
        store.find("denoise")


@pytest.mark.parametrize("name", ["mine.onnx", "folder/mine.onnx", 300 * "a" + ".onnx"])
def test_a_path_that_leads_nowhere_is_no_model_file(shelf, monkeypatch, name):
    def refuse(path: object, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # A folder that may not be entered; root may enter all.
    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(ModelNotFound, match="no such model file"):
        store.find(name)
    monkeypatch.setenv("RESTORE_MODELS", "locked")
    with pytest.raises(ModelNotFound, match="RESTORE_MODELS: no folder of models"):
        store.find("denoise")


def test_publishing_again_replaces_the_entry_and_keeps_the_others(shelf):
    (shelf / "colorize-fast.onnx").write_bytes(b"colour")
    store.publish(shelf, "colorize-fast", task="colorize", tier="fast", about={})
    (shelf / "denoise-fast.onnx").write_bytes(b"better weights")
    store.publish(shelf, "denoise-fast", task="denoise", tier="fast", about={"licence": "CC0"})
    assert [e.name for e in store.entries()] == ["colorize-fast", "denoise-fast"]
    assert [e.size for e in store.entries()] == [6, 14]
    assert store.entries()[1].about == {"licence": "CC0"}


def test_an_unknown_name_lists_the_known_ones(shelf):
    with pytest.raises(ModelNotFound, match=r"no model is called 'denoize'. There are: denoise-fast"):
        store.find("denoize")


def test_a_missing_path_is_said(shelf):
    with pytest.raises(ModelNotFound, match="no such model file"):
        store.find("models/none.onnx")


def test_a_damaged_file_is_refused(shelf):
    (shelf / "denoise-fast.onnx").write_bytes(b"weighty")
    with pytest.raises(UnsupportedModel, match="the file is damaged"):
        store.find("denoise")


def test_a_file_that_has_gone_is_said(shelf):
    (shelf / "denoise-fast.onnx").unlink()
    with pytest.raises(UnsupportedModel, match="the file is missing"):
        store.find("denoise")


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"models": {"a": {"task": "b"}}}'])
def test_a_broken_manifest_is_named(shelf, text):
    (shelf / "manifest.json").write_text(text, "utf-8")
    with pytest.raises(UnsupportedModel, match=r"manifest.json: not a manifest"):
        store.entries()
