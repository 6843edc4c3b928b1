"""A model file in onnxruntime: what is refused, which sentence its errors become, and how many threads it gets."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from restore import session
from restore.engine import open_model
from restore.errors import BadOption, NotEnoughMemory, UnsupportedModel
from restore.image import Image
from restore.session import available_cpus


def test_cuda_without_a_provider_is_refused_loudly(tiny_denoiser, monkeypatch):
    monkeypatch.setattr(session.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BadOption, match="no CUDA provider"):
        open_model(tiny_denoiser, device="cuda")


@pytest.mark.parametrize(("option", "value"), [("device", "tpu"), ("threads", 0)])
def test_a_senseless_option_is_refused(tiny_denoiser, option, value):
    with pytest.raises(BadOption, match=f"--{option} {value}"):
        open_model(tiny_denoiser, **{option: value})


def test_a_file_that_is_no_onnx_is_refused(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(UnsupportedModel, match="not a model that onnxruntime can load"):
        open_model(path)


def test_a_file_without_our_spec_is_refused(tiny_denoiser, tmp_path):
    model = onnx.load(tiny_denoiser)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(UnsupportedModel, match=r"without the entry restore\.spec"):
        open_model(tmp_path / "bare.onnx")


def test_a_spec_that_does_not_fit_its_graph_is_refused(tiny_denoiser, tmp_path):
    model = onnx.load(tiny_denoiser)
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"sigma"', '"level"')
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(UnsupportedModel, match="names the inputs image, level, its graph has image, sigma"):
        open_model(tmp_path / "odd.onnx")


def test_a_failed_allocation_becomes_a_sentence(tiny_denoiser, monkeypatch):
    def fail(*_):
        raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer")

    denoiser = open_model(tiny_denoiser, device="cpu")
    monkeypatch.setattr(denoiser._session, "_session", type("Fake", (), {"run": fail})())
    with pytest.raises(NotEnoughMemory, match=r"for 8 x 4 pixels at once. Try smaller tiles: restore denoise"):
        denoiser(Image(np.zeros((4, 8, 3), np.uint8)), sigma=0.1)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
        ({"cpu.max": "much\n"}, None),
    ],
)
def test_a_control_groups_quota_is_read(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert session._cgroup_quota(tmp_path) == expected


def test_threads_stay_within_the_quota(monkeypatch):
    monkeypatch.setattr(session, "_cgroup_quota", lambda _: 0.5)
    assert available_cpus() == 1
