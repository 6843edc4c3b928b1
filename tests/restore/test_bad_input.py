"""Bad input gets one clear sentence and its exit code, and leaves nothing behind; odd input works."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile

from restore import session, store
from restore.image import Image, encode, read, write

GREY = np.random.default_rng(0).normal(128, 25, (40, 30)).clip(0, 255).astype(np.uint8)
NOISY = Image(np.stack([GREY, GREY.T.copy().reshape(40, 30), 255 - GREY], axis=-1))


def float_tiff() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4), np.float32))
    return file.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A header that promises a picture, and nothing after it."""
    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data)) + bytes(3) + b"dIDAT"
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below the folder with its bytes, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


JPEG = encode(NOISY, "JPEG")
HALF = JPEG[: len(JPEG) // 2]
BAD = {
    "cut.jpg": (HALF, f"the file ends early ({len(HALF):,} bytes). Is the download complete?"),
    "empty.png": (b"", "the file is empty (0 bytes). Is the download complete?"),
    "letter.jpg": (
        b"Dear diary, today I saw a jay.",
        "not a picture that can be read. Give a JPEG, PNG, TIFF, WebP, BMP, GIF, PPM or PGM file.",
    ),
    "bomb.png": (
        huge_png(60_000, 60_000),
        (
            "60000 x 60000 pixels are 3,600 megapixels, above the limit of 400. "
            "Scale it down first, or, if the file is trusted, read it in Python with more `max_pixels`."
        ),
    ),
    "float.tif": (float_tiff(), "a float TIFF. Save it as 16-bit integers first."),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("output", [[], ["-o", "new/clean.png"], ["-o", "-"]], ids=["beside", "file", "stdout"])
def test_a_bad_file_gets_one_sentence_and_leaves_nothing_behind(run, tmp_path, name, output):
    data, sentence = BAD[name]
    Path(name).write_bytes(data)
    result = run("denoise", name, *output)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {name}: {sentence}\n")
    assert snapshot(tmp_path) == {name: data}
    assert not Path("new").exists()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_on_standard_input_gets_the_same_sentence(run, tmp_path, name):
    data, sentence = BAD[name]
    result = run("denoise", "-", "-o", "clean.png", stdin=data)
    if not data:
        sentence = "no picture came. Send a file there: < photo.jpg"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: standard input: {sentence}\n")
    assert snapshot(tmp_path) == {}


def test_bad_files_among_good_ones_are_each_named(run, tmp_path):
    for name, (data, _) in BAD.items():
        Path("in", name).parent.mkdir(exist_ok=True)
        Path("in", name).write_bytes(data)
    write(NOISY, Path("in/good.png"))
    before = snapshot(tmp_path)
    result = run("denoise", "in", "-o", "out")
    assert result.exit_code == 1
    for name, (_, sentence) in BAD.items():
        assert f"Error: {Path('in', name)}: {sentence}\n" in result.stderr
    assert "1 done, 5 failed\n" in result.stderr
    after = snapshot(tmp_path)
    assert after.keys() - before.keys() == {str(Path("out/good.png"))}
    assert before.items() <= after.items()


# Places that cannot be written


def test_a_file_in_place_of_the_output_folder(run, tmp_path):
    write(NOISY, Path("a.png"))
    Path("out").write_text("mine")
    before = snapshot(tmp_path)
    result = run("denoise", "a.png", "-o", "out/clean.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: {tmp_path / 'out'}: a file, where a folder is needed. Choose another folder with -o.\n"
    )
    assert snapshot(tmp_path) == before


def test_an_output_folder_without_permission(run, tmp_path, monkeypatch):
    write(NOISY, Path("a.png"))
    before = snapshot(tmp_path)
    # By monkeypatch and not chmod: root may write everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    result = run("denoise", "a.png")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {tmp_path}: no permission to write there. Choose another folder with -o.\n"
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("clean", [True, False], ids=["copied", "restored"])
def test_a_full_disk_leaves_nothing_behind(run, tmp_path, monkeypatch, clean):
    write(Image(np.full((40, 40, 3), 120, np.uint8)) if clean else NOISY, Path("a.png"))
    before = snapshot(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = run("denoise", "a.png", "-o", "new/clean.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {Path('new/clean.png')}: the disk is full. Make room, or write to another disk.\n"
    )
    assert snapshot(tmp_path) == before
    assert not Path("new").exists()


def test_a_full_disk_keeps_the_answer_that_was_there(run, tmp_path, monkeypatch):
    write(NOISY, Path("a.png"))
    Path("a-denoised.png").write_text("the old answer")
    before = snapshot(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run("denoise", "a.png", "--overwrite").exit_code == 1
    assert snapshot(tmp_path) == before


# Models that are none


@pytest.fixture
def broken_models(smoother: Path, run: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of models: one damaged file."""
    folder = tmp_path / "models"
    folder.mkdir()
    data = (smoother / "denoise-fast.onnx").read_bytes()
    (folder / "denoise-fast.onnx").write_bytes(data)
    store.publish(folder, "denoise-fast", task="denoise", tier="fast", about={})
    (folder / "denoise-fast.onnx").write_bytes(data[:-1] + b"?")
    monkeypatch.setenv("RESTORE_MODELS", str(folder))
    return folder


def test_a_damaged_model_is_not_used(run, broken_models):
    write(NOISY, Path("a.png"))
    result = run("denoise", "a.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"Error: {broken_models / 'denoise-fast.onnx'}: the file is damaged (its sha256 is not the one in "
        "manifest.json). Install Restore again.\n"
    )
    assert not Path("a-denoised.png").exists()


def test_a_damaged_model_is_named_by_verify_and_doctor(run, broken_models):
    path = broken_models / "denoise-fast.onnx"
    for command in (["models", "verify"], ["doctor"]):
        result = run(*command)
        assert result.exit_code == 1
        assert f"FAULT  {path}: the file is damaged" in result.stdout


def test_a_missing_model_file_is_named_by_verify(run, broken_models):
    (broken_models / "denoise-fast.onnx").unlink()
    result = run("models", "verify")
    assert result.exit_code == 1
    assert "the manifest lists this model but the file is missing" in result.stdout


@pytest.mark.parametrize("command", [["denoise", "a.png", "--model"], ["models", "show"]], ids=["denoise", "show"])
def test_a_file_that_is_no_model(run, command):
    write(NOISY, Path("a.png"))
    Path("mine.onnx").write_bytes(b"garbage" * 100)
    result = run(*command, "mine.onnx")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: mine.onnx: not a model that onnxruntime can load (")
    assert result.stderr.count("\n") == 1
    assert not Path("a-denoised.png").exists()


def test_an_onnx_file_without_our_spec(run, smoother):
    write(NOISY, Path("a.png"))
    model = onnx.load(smoother / "denoise-fast.onnx")
    del model.metadata_props[:]
    onnx.save(model, "bare.onnx")
    result = run("denoise", "a.png", "--model", "bare.onnx")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: bare.onnx: an ONNX file without the entry restore.spec. Export it with: python -m training export\n"
    )
    assert not Path("a-denoised.png").exists()


def test_a_manifest_that_is_none(run, broken_models):
    (broken_models / "manifest.json").write_text("[]")
    result = run("models", "list")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {broken_models / 'manifest.json'}: not a manifest of models")


# Odd, but good


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (1, 5000), (5000, 1)], ids=str)
@pytest.mark.parametrize("sigma", ["auto", "75"])
def test_the_smallest_and_the_thinnest_pictures_work(run, shape, sigma):
    write(Image(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)), Path("a.png"))
    result = run("denoise", "a.png", "--sigma", sigma)
    assert result.exit_code == 0, result.stderr
    assert read(Path("a-denoised.png")).pixels.shape == (*shape, 3)


def test_small_tiles_work_on_a_thin_picture(run):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 5000, 3), np.uint8)
    write(Image(pixels), Path("a.png"))
    for tile, name in (("3", "tiled.png"), ("9999", "whole.png")):
        assert run("denoise", "a.png", "--sigma", "75", "--tile", tile, "-o", name).exit_code == 0
    np.testing.assert_array_equal(read(Path("tiled.png")).pixels, read(Path("whole.png")).pixels)


def test_a_jpeg_called_png_is_read_by_content_and_written_as_the_name_says(run):
    Path("photo.png").write_bytes(JPEG)
    assert run("denoise", "photo.png", "--sigma", "20").exit_code == 0
    assert read(Path("photo-denoised.png")).format == "PNG"
    assert Path("photo.png").read_bytes() == JPEG


def test_a_clean_jpeg_called_png_becomes_the_png_that_its_output_is_called(run):
    jpeg = encode(Image(np.full((40, 40, 3), 120, np.uint8)), "JPEG")
    Path("photo.png").write_bytes(jpeg)
    result = run("denoise", "photo.png")
    assert result.stderr.startswith("photo.png: no noise found -> photo-denoised.png, ")
    assert result.stderr.endswith("\n  converted from JPEG to PNG\n")
    answer = read(Path("photo-denoised.png"))
    assert answer.format == "PNG"
    np.testing.assert_array_equal(answer.pixels, read(jpeg).pixels)


def test_a_name_that_holds_markup_or_line_breaks_is_no_trouble(run):
    name = "[bold]\u00e9 a\nb.png"
    write(NOISY, Path(name))
    assert run("denoise", name, "--sigma", "20").exit_code == 0
    assert read(Path("[bold]\u00e9 a\nb-denoised.png")).format == "PNG"


def test_a_picture_too_large_for_the_memory_is_one_sentence(run, tmp_path, monkeypatch):
    write(NOISY, Path("a.png"))
    before = snapshot(tmp_path)

    def fail(*_: object) -> None:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 9000000000")

    monkeypatch.setattr(session.ort.InferenceSession, "run", fail)
    result = run("denoise", "a.png", "--sigma", "20")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: a.png: the memory does not suffice for 30 x 40 pixels at once. "
        "Try smaller tiles: restore denoise --tile 1024\n"
    )
    assert snapshot(tmp_path) == before
