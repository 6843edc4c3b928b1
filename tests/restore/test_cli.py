"""The command line as a user meets it: what it prints where, what it exits with, and what it leaves alone."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest

from restore import __version__, cli, session, store
from restore.engine import Restorer
from restore.image import Image, encode, read, write

ROOT = Path(__file__).parents[2]
FLAT = Image(np.full((40, 40, 3), 120, np.uint8))
NOISY = Image(np.random.default_rng(0).normal(128, 25, (64, 64, 3)).clip(0, 255).astype(np.uint8))
DOT = Image(np.pad(np.full((1, 1, 3), 90, np.uint8), ((2, 2), (2, 2), (0, 0))))


def process(*args: str, models: Path, stdin: bytes = b"", program: str = "from restore.cli import main; main()"):
    """The same in a process of its own."""
    environment = os.environ | {"RESTORE_MODELS": str(models), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *args]
    return subprocess.run(command, input=stdin, capture_output=True, env=environment, check=False)


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


# Help


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["denoise"],
        ["serve"],
        ["models"],
        ["models", "list"],
        ["models", "show"],
        ["models", "verify"],
        ["layer"],
        ["auto"],
        ["classify"],
        ["reproduce"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_every_help_text_is_one_sentence_and_an_example(run, command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    usage, sentence, example = result.stdout.split("\n\n")[:3]
    assert usage.startswith("Usage: restore")
    assert sentence.strip()[0].isupper()
    assert sentence.count(".") == 1
    assert example.strip().startswith("Example: restore ")


@pytest.mark.parametrize("command", [[], ["models"]], ids=["restore", "models"])
def test_a_command_alone_shows_its_help(run, command):
    result = run(*command)
    assert (result.exit_code, result.stdout) == (0, run(*command, "--help").stdout)


def test_the_version_is_told(run):
    assert run("--version").stdout == f"restore {__version__}\n"


def test_help_takes_less_than_four_tenths_of_a_second_of_processor_time(smoother):
    program = (
        "import resource, subprocess, sys; "
        "subprocess.run([sys.executable, '-m', 'restore', '--help'], stdout=subprocess.DEVNULL, check=True); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
    )
    assert float(process(models=smoother, program=program).stdout) < 0.4


# restore denoise


def test_a_noisy_picture_is_denoised_beside_itself_and_the_level_is_told(run):
    write(NOISY, Path("night.png"))
    result = run("denoise", "night.png")
    assert result.exit_code == 0
    assert result.stdout == ""
    # 128 +- 25 over 64 x 64 pixels: the estimate may be two levels off.
    assert result.stderr.startswith(tuple(f"night.png: noise, sigma about {n} -> " for n in (23, 24, 25, 26, 27)))
    assert "-> night-denoised.png, " in result.stderr
    assert read(Path("night-denoised.png")).pixels.std() < 0.8 * NOISY.pixels.std()


def test_sigma_is_on_the_scale_of_0_to_255(run):
    write(DOT, Path("dot.png"))
    result = run("denoise", "dot.png", "--sigma", "31.875", "-o", "clean.png")
    assert result.stderr.startswith("dot.png: sigma 31.875 -> clean.png")
    # 31.875 / 255 is 1/8, so half of the way from 90 to the mean of nine, which is 10.
    assert read(Path("clean.png")).pixels[2, 2].tolist() == [50, 50, 50]


def test_strength_says_how_much_of_the_change_is_made(run):
    write(DOT, Path("dot.png"))
    for options, level in ((("--strength", "0.5", "--chroma-strength", "0.5"), 70), (("--strength", "0"), 90)):
        result = run("denoise", "dot.png", "--sigma", "31.875", *options, "-o", f"{level}.png")
        assert result.exit_code == 0
        # The whole change would be from 90 to 50; it is all luma.
        assert read(Path(f"{level}.png")).pixels[2, 2].tolist() == [level] * 3


@pytest.mark.parametrize("value", ["-0.1", "1.5"])
def test_a_strength_beyond_its_range_is_wrong_usage(run, value):
    write(DOT, Path("dot.png"))
    result = run("denoise", "dot.png", "--strength", value)
    assert result.exit_code == 2
    assert not Path("dot-denoised.png").exists()


def test_a_quality_that_is_not_installed_is_named(run):
    write(DOT, Path("dot.png"))
    result = run("denoise", "dot.png", "--quality", "best")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: --quality best: no weights for it are installed (denoise-best). Use --quality fast, or train them from "
        "a checkout: python -m training train denoise-best\n"
    )


def test_a_clean_picture_is_left_as_it_is(run):
    write(FLAT, Path("day.png"))
    result = run("denoise", "day.png")
    assert result.exit_code == 0
    assert result.stderr.startswith("day.png: no noise found, left as it is -> day-denoised.png")
    assert Path("day-denoised.png").read_bytes() == Path("day.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--strength", "0", "--chroma-strength", "0"], ", of which nothing was taken, left as it is -> day-denoised"),
        (["--sigma", "0"], "day.png: sigma 0 told, left as it is -> day-denoised"),
    ],
)
def test_a_picture_of_which_nothing_is_to_be_taken_is_copied(run, options, said):
    write(NOISY, Path("day.png"))
    result = run("denoise", "day.png", *options)
    assert result.exit_code == 0
    assert said in result.stderr
    assert Path("day-denoised.png").read_bytes() == Path("day.png").read_bytes()


def test_a_broken_file_does_not_stop_the_folder_and_is_named_at_the_end(run):
    for name in ("in/a.png", "in/deep/b.png"):
        write(NOISY, Path(name))
    Path("in/bad.jpg").write_text("no picture")
    result = run("denoise", "in", "-o", "out")
    assert result.exit_code == 1
    assert f"Error: {Path('in/bad.jpg')}: not a picture" in result.stderr
    assert result.stderr.endswith(f"2 done, 1 failed\nFailed:\n  {Path('in/bad.jpg')}\n")
    assert sorted(p.as_posix() for p in Path("out").rglob("*.*")) == ["out/a.png", "out/deep/b.png"]


def test_the_summary_says_how_many_earlier_answers_were_passed_over(run):
    write(NOISY, Path("in/a.png"))
    assert run("denoise", "in").stderr.count("\n") == 1
    result = run("denoise", "in", "--skip-existing")
    assert result.stderr == "1 skipped, 1 passed over (answers of an earlier run)\n"
    Path("in/a.png").unlink()
    result = run("denoise", "in")
    assert "in/a-denoised.png: " in result.stderr
    assert Path("in/a-denoised-denoised.png").exists()


def test_quiet_prints_errors_only(run):
    for name in ("a.png", "b.png"):
        write(NOISY, Path(name))
    assert run("denoise", "a.png", "b.png", "--quiet").output == ""
    Path("bad.png").write_text("no picture")
    result = run("denoise", "bad.png", "--quiet")
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert result.stderr.startswith("Error: bad.png: not a picture")


def test_an_existing_output_needs_overwrite(run):
    write(NOISY, Path("a.png"))
    Path("a-denoised.png").write_text("mine")
    result = run("denoise", "a.png")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: a-denoised.png is there already.")
    assert Path("a-denoised.png").read_text() == "mine"
    assert run("denoise", "a.png", "--overwrite").exit_code == 0
    assert read(Path("a-denoised.png")).format == "PNG"


def test_json_is_one_object_a_file_on_stdout(run):
    write(NOISY, Path("in/noisy.png"))
    write(FLAT, Path("in/flat.png"))
    Path("in/bad.png").write_text("no picture")
    result = run("denoise", "in", "-o", "out", "--json")
    assert result.exit_code == 1
    assert result.stderr == ""
    bad, flat, noisy = rows(result.stdout)
    keys = ["source", "output", "model", "params", "found", "seconds", "status", "error", "notes"]
    assert [list(row) for row in (bad, flat, noisy)] == [keys] * 3
    assert [row["status"] for row in (bad, flat, noisy)] == ["failed", "unchanged", "done"]
    assert noisy["found"]["sigma"] == pytest.approx(25, abs=2)
    assert (noisy["params"], noisy["error"], noisy["model"]) == ({}, None, "denoise-fast")
    assert flat["found"] == {"sigma": 0.0}
    assert bad["error"].startswith(f"{Path('in/bad.png')}: not a picture")
    assert noisy["output"] == str(Path("out/noisy.png"))


def test_json_tells_the_level_that_was_asked_for_on_the_scale_of_0_to_255(run):
    write(NOISY, Path("a.png"))
    (row,) = rows(run("denoise", "a.png", "--sigma", "25", "--json").stdout)
    assert (row["params"], row["found"]) == ({"sigma": 25.0}, {})


def test_what_was_lost_on_the_way_is_told(run):
    write(Image(NOISY.pixels.astype(np.uint16) * 257), Path("deep.png"))
    result = run("denoise", "deep.png", "-o", "flat.jpg", "--sigma", "9")
    assert "  JPEG holds 8 bits per channel: 16 bits were rounded to 8\n" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--sigma", "90"],
            (
                "--sigma 90 is above 75, the strongest noise denoise-fast was trained on.\n"
                "Use 75 or less, or list the models with: restore models list"
            ),
        ),
        (["--sigma", "-1"], "--sigma -1 is below 0, the least that denoise-fast takes. Use 0 or more."),
        (["--sigma", "nan"], "--sigma nan is not a number. Use one from 0 to 75."),
        (["--sigma", "much"], "--sigma much is neither a number nor auto."),
        (["--tile", "0"], "--tile 0 is not a size in pixels. Use 3 or more, or leave it out."),
        (["--threads", "0"], "--threads 0 is not a number of threads. Use 1 or more."),
        (["--device", "tpu"], "--device tpu is not known. Use one of: auto, cpu, cuda."),
        (["--model", "gone.onnx"], "gone.onnx: no such model file. List the models with: restore models list"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_nothing_is_done(run, args, message):
    write(NOISY, Path("a.png"))
    result = run("denoise", "a.png", *args)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {message}\n")
    assert [path.name for path in Path().iterdir()] == ["a.png"]


def test_an_unknown_model_is_told_the_known_ones(run):
    write(NOISY, Path("a.png"))
    result = run("denoise", "a.png", "--model", "denoise-slow")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: no model is called 'denoise-slow'. There are: denoise-fast.")


def test_a_model_of_another_task_is_refused(run, smoother):
    model = onnx.load(smoother / "denoise-fast.onnx")
    spec = model.metadata_props[0]
    spec.value = spec.value.replace('"task": "denoise"', '"task": "sharpen"')
    onnx.save(model, "other.onnx")
    write(NOISY, Path("a.png"))
    result = run("denoise", "a.png", "--model", "other.onnx")
    assert result.exit_code == 2
    assert result.stderr == "Error: --model other.onnx: denoise-fast is for the task sharpen, not denoise.\n"


def test_cuda_that_cannot_start_is_not_the_cpu_in_silence(run, monkeypatch):
    write(NOISY, Path("a.png"))
    monkeypatch.setattr(session.ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(session, "_providers", lambda _: ["CPUExecutionProvider"])
    result = run("denoise", "a.png", "--device", "cuda")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: --device cuda: onnxruntime has a CUDA provider but could not start it")


def test_no_input_at_all_is_wrong_usage(run):
    result = run("denoise")
    assert result.exit_code == 2
    assert "Missing argument 'INPUT" in result.stderr


def test_our_own_bug_keeps_its_traceback(run, monkeypatch):
    write(NOISY, Path("a.png"))

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Restorer, "__call__", fail)
    assert isinstance(run("denoise", "a.png").exception, ZeroDivisionError)


def test_a_file_that_the_system_refuses_is_named_without_a_traceback(run, monkeypatch):
    write(NOISY, Path("a.png"))

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "manifest.json")

    monkeypatch.setattr(Restorer, "__call__", fail)
    result = run("denoise", "a.png")
    assert (result.exit_code, result.stderr) == (1, "Error: manifest.json: Input/output error.\n")


def test_the_bars_on_a_terminal_leave_the_lines_as_they_are(run, monkeypatch, capfd):
    for name in ("[a].png", "b.png"):
        write(NOISY, Path(name))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(SystemExit) as ended:
        cli.app(["denoise", "[a].png", "b.png", "-o", "out", "--sigma", "20"])
    assert ended.value.code == 0
    said = capfd.readouterr().err
    assert f"[a].png: sigma 20 -> {Path('out/[a].png')}, " in said
    assert "2 done\n" in said


# Standard input and output


def test_a_picture_goes_through_the_standard_streams(run):
    result = run("denoise", "-", "--sigma", "75", stdin=encode(DOT, "PNG"))
    assert result.exit_code == 0
    assert result.stderr.startswith("standard input: sigma 75, ")
    assert read(result.stdout_bytes).format == "PNG"
    assert read(result.stdout_bytes).pixels[2, 2].tolist() == [10, 10, 10]


@pytest.mark.parametrize(("data", "kind"), [(encode(NOISY, "JPEG"), "JPEG"), (b"P6 2 1 255 abcdef", "PNG")])
def test_standard_output_has_the_format_of_the_source_or_png(run, data, kind):
    assert read(run("denoise", "-", "--sigma", "9", stdin=data).stdout_bytes).format == kind


def test_a_clean_picture_passes_through_unchanged(run):
    data = encode(FLAT, "PNG") + b"after the end"
    assert run("denoise", "-", "-o", "-", stdin=data).stdout_bytes == data


def test_standard_input_can_go_into_a_file(run):
    result = run("denoise", "-", "-o", "new/dot.jpg", "--sigma", "9", stdin=encode(DOT, "PNG"))
    assert result.exit_code == 0
    assert read(Path("new/dot.jpg")).format == "JPEG"


def test_a_clean_picture_on_standard_input_is_copied_byte_for_byte(run):
    data = encode(FLAT, "PNG") + b"after the end"
    assert run("denoise", "-", "-o", "new/day.png", stdin=data).exit_code == 0
    assert Path("new/day.png").read_bytes() == data


def test_json_goes_to_stderr_where_the_picture_takes_stdout(run):
    write(NOISY, Path("a.png"))
    result = run("denoise", "a.png", "-o", "-", "--json")
    (row,) = rows(result.stderr)
    assert (row["source"], row["output"], row["status"]) == ("a.png", "-", "done")
    assert read(result.stdout_bytes).format == "PNG"


def test_nothing_on_standard_input_is_told(run):
    result = run("denoise", "-", stdin=b"")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: standard input: no picture came.")


def test_nobody_types_a_picture_on_a_terminal(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    with pytest.raises(SystemExit) as ended:
        cli.app(["denoise", "-"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == ("Error: - is a picture on standard input. Send a file there: < photo.jpg\n")


def test_nobody_reads_a_picture_on_a_terminal(run, monkeypatch, capsys):
    write(NOISY, Path("a.png"))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(SystemExit) as ended:
        cli.app(["denoise", "a.png", "-o", "-"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "Error: a picture cannot be shown on a terminal. Write it to a file: -o clean.jpg\n"
    )


# Processes


def test_a_process_passes_bytes_and_exit_codes(smoother):
    good = process("denoise", "-", "--sigma", "75", models=smoother, stdin=encode(DOT, "PNG"))
    assert (good.returncode, read(good.stdout).pixels[2, 2].tolist()) == (0, [10, 10, 10])
    bad = process("denoise", "-", models=smoother, stdin=b"no picture")
    assert (bad.returncode, bad.stdout) == (1, b"")
    assert process("denoise", "gone.jpg", models=smoother).returncode == 2


def test_the_file_behind_standard_input_is_never_overwritten(smoother, tmp_path):
    path = tmp_path / "a.png"
    write(NOISY, path)
    before = path.read_bytes()
    environment = os.environ | {"RESTORE_MODELS": str(smoother), "PYTHONPATH": str(ROOT)}
    with path.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "restore", "denoise", "-", "-o", str(path), "--overwrite"],
            stdin=file, capture_output=True, env=environment, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert b"the same file as the input standard input. Inputs are never overwritten." in done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_clean(smoother, tmp_path, number):
    write(NOISY, tmp_path / "a.png")
    # The system may hand the signal to any thread, so that Python hears of it a moment later; work goes on till then.
    program = (
        # A shell's background jobs, tests among them, begin with Ctrl-C ignored.
        "import os, signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from restore.engine import Restorer; from restore.cli import main; "
        f"Restorer.__call__ = lambda *_, **__: [os.kill(os.getpid(), {int(number)}), "
        "*(time.sleep(0.01) for _ in range(3000))]; main()"
    )
    done = process("denoise", str(tmp_path), "-o", str(tmp_path / "out"), models=smoother, program=program)
    assert done.returncode == 128 + number
    assert done.stderr == b"Stopped. Every finished file is whole, and nothing is half-written.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
@pytest.mark.parametrize("args", [["denoise", "a.png", "-o", "-"], ["models", "list"]], ids=["denoise", "list"])
def test_a_full_disk_behind_standard_output_is_told(smoother, tmp_path, args):
    write(NOISY, tmp_path / "a.png")
    environment = os.environ | {"RESTORE_MODELS": str(smoother), "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "restore", *args],
            stdout=full, stderr=subprocess.PIPE, env=environment, cwd=tmp_path, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"Error: standard output: the disk is full. Make room.\n")


@pytest.mark.parametrize(
    "args", [["denoise", "a.png", "-o", "-", "--quiet"], ["models", "list"]], ids=["denoise", "list"]
)
def test_a_reader_that_goes_away_is_no_traceback(smoother, tmp_path, args):
    write(NOISY, tmp_path / "a.png")
    environment = os.environ | {"RESTORE_MODELS": str(smoother), "PYTHONPATH": str(ROOT)}
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "restore", *args],
        stdout=writing, stderr=subprocess.PIPE, env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(os.name == "nt", reason="closes streams as a Unix shell does")
@pytest.mark.parametrize(
    ("closed", "args", "code", "said"),
    [
        ("<&-", "denoise - -o out.png", 1, "Error: standard input: no picture came. Send a file there: < photo.jpg\n"),
        (">&-", "denoise a.png -o -", 1, "Error: standard output: cannot be written: Bad file descriptor.\n"),
        (">&-", "models list", 1, "Error: standard output: it is closed. Send it to a file: > result.txt\n"),
        ("<&- >&-", "denoise a.png -o out.png --quiet", 0, ""),
        ("2>&-", "denoise a.png -o out.png", 0, ""),
        ("2>&-", "denoise gone.png", 2, ""),
        ("<&- >&- 2>&-", "denoise a.png -o out.png", 0, ""),
    ],
)
def test_a_stream_that_is_closed_is_no_traceback(smoother, tmp_path, closed, args, code, said):
    write(NOISY, tmp_path / "a.png")
    environment = os.environ | {"RESTORE_MODELS": str(smoother), "PYTHONPATH": str(ROOT)}
    command = ["sh", "-c", f'exec "$0" -m restore {args} {closed}', sys.executable]
    done = subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (code, b"", said)
    assert (tmp_path / "out.png").exists() == (code == 0)


# restore models


def test_models_are_listed_with_where_they_come_from(run, smoother):
    heading, line = run("models", "list").stdout.splitlines()
    assert heading.split() == ["NAME", "TASK", "TIER", "SIZE", "LICENCE", "FOLDER"]
    assert line.split() == ["denoise-fast", "denoise", "fast", "0.0", "MB", "CC0-1.0", str(smoother)]


def test_no_models_at_all_is_an_error(run, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_MODELS", "")
    result = run("models", "list")
    assert result.exit_code == 2
    assert result.stderr == f"Error: there are no models in {tmp_path / 'no-models'}. Install Restore again.\n"


@pytest.mark.parametrize("name", ["denoise", "denoise-fast"])
def test_a_model_is_described_in_the_users_units(run, smoother, name):
    lines = [line.split(maxsplit=1) for line in run("models", "show", name).stdout.splitlines()]
    assert lines[0] == ["denoise-fast"]
    said = dict(line for line in lines if len(line) == 2)
    assert said["--sigma"] == "0 to 75 of 255, default found in the picture: how strong the noise is"
    assert said["reach"] == "1 px"
    assert said["figures"] == "psnr/25 20.5"
    assert said["licence"] == "CC0-1.0"
    assert "commit  0000000" in run("models", "show", name).stdout


def test_a_model_is_described_in_json(run, smoother):
    path = smoother / "denoise-fast.onnx"
    facts = json.loads(run("models", "show", str(path), "--json").stdout)
    assert facts["path"] == str(path)
    assert facts["sha256"] == store.sha256(path)
    assert facts["spec"]["reach"] == 1
    assert facts["about"]["figures"] == {"psnr/25": 20.5}


def test_whole_models_are_verified(run, smoother):
    result = run("models", "verify")
    assert (result.exit_code, result.stdout) == (0, f"ok     {smoother / 'denoise-fast.onnx'}\n")


# restore doctor


def test_a_doctor_finds_a_sound_installation_sound(run):
    result = run("doctor")
    assert result.exit_code == 0
    assert all(line.startswith("ok ") for line in result.stdout.splitlines())
    for word in (__version__, "Python", "onnxruntime", "numpy", "CPUs", "denoise-fast", "trial picture on CPU"):
        assert word in result.stdout


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that packages have other versions; None: not there."""
    true = metadata.version

    def install(**versions: str | None) -> None:
        def version(name: str) -> str:
            found = versions.get(name.replace("-", "_"), true) if name.replace("-", "_") in versions else true(name)
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return str(found)

        monkeypatch.setattr(metadata, "version", version)

    return install


@pytest.mark.parametrize(
    ("versions", "fault"),
    [
        ({"onnxruntime_gpu": "1.22"}, "onnxruntime and onnxruntime-gpu are both installed and overwrite each other"),
        ({"onnxruntime": None, "onnxruntime_gpu": "1.22"}, "onnxruntime-gpu has no CUDA provider"),
        ({"onnxruntime": None}, "onnxruntime is not installed: pip install onnxruntime"),
        ({"pillow": None}, "pillow is not installed: pip install pillow"),
    ],
)
def test_a_doctor_names_what_is_wrong_with_the_packages(run, installed, versions, fault):
    installed(**versions)
    result = run("doctor")
    assert result.exit_code == 1
    assert f"FAULT  {fault}" in result.stdout
    assert result.stderr == "1 fault found: see the lines that begin with FAULT.\n"


def test_a_page_that_is_not_installed_is_no_fault(run, installed):
    installed(gradio=None)
    result = run("doctor")
    assert result.exit_code == 0
    assert 'no page: `restore serve` needs pip install "restore-photos[web]"' in result.stdout


def test_a_doctor_does_not_trust_a_model_that_only_runs(run, monkeypatch):
    monkeypatch.setattr(Restorer, "run_array", lambda self, x, **_: {"restored": x})
    result = run("doctor")
    assert result.exit_code == 1
    assert "FAULT  trial picture on CPUExecutionProvider: its noise went from 24.9 to 24.9 of 255." in result.stdout


def test_a_doctor_without_models_goes_on_to_the_end(run, monkeypatch):
    monkeypatch.setenv("RESTORE_MODELS", "")
    result = run("doctor")
    assert result.exit_code == 1
    assert "FAULT  no models in " in result.stdout
    assert "FAULT  a trial picture could not be restored: no model is called 'denoise'" in result.stdout
    assert "page" in result.stdout.splitlines()[-1]


# restore serve


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What the page was called with, in place of a page."""
    calls: list[dict[str, object]] = []
    page = type(sys)("restore.web")
    page.serve = lambda **options: calls.append(options)
    monkeypatch.setitem(sys.modules, "restore.web", page)
    monkeypatch.setattr("restore.web", page, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    return calls


STARTING = "Starting: the page and its models take some seconds.\n"


def test_the_page_is_for_this_computer_alone_unless_asked(run, served):
    result = run("serve")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", STARTING)
    assert served == [
        {
            "host": "127.0.0.1",
            "port": 7860,
            "model": "denoise",
            "device": "auto",
            "threads": None,
            "open_browser": False,
        }
    ]


@pytest.mark.parametrize(
    ("host", "warned"),
    [("0.0.0.0", True), ("192.168.1.7", True), ("example.org", True), ("localhost", False), ("::1", False)],
)
def test_a_page_that_others_can_reach_comes_with_a_warning(run, served, host, warned):
    result = run("serve", "--host", host, "--port", "8000")
    assert (served[0]["host"], served[0]["port"]) == (host, 8000)
    said = f"Warning: whoever can reach {host}:8000 can use the page; it asks for no password.\n"
    assert result.stderr == (said if warned else "") + STARTING


def test_a_page_that_is_not_installed_says_how_to(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    result = run("serve")
    assert result.exit_code == 2
    assert result.stderr == 'Error: the page needs the extra "web": pip install "restore-photos[web]"\n'
