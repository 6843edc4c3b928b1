"""Which pictures are found, where their answers go, what is refused before work, and what a run leaves behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from restore.batch import run, run_each
from restore.engine import Restored, Restorer, open_model
from restore.errors import BadOption, NotEnoughMemory
from restore.image import Image, encode, read, write
from restore.jobs import Job, _ignores_case, find, plan

Make = Callable[..., None]
FLAT = Image(np.full((40, 40, 3), 120, np.uint8))
NOISY = Image(np.random.default_rng(0).normal(128, 25, (64, 64, 3)).clip(0, 255).astype(np.uint8))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes files with their own name as content in a folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)

    def make(*names: str) -> None:
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(name)

    return make


@pytest.fixture
def restorer(smoother: Path) -> Restorer:
    return open_model(smoother / "denoise-fast.onnx", device="cpu")


def planned(*inputs: str, to: str | None = None, overwrite: bool = False) -> dict[str, str]:
    jobs = plan(inputs, to, suffix="-denoised", overwrite=overwrite)
    return {Path(str(job.source)).as_posix(): Path(str(job.output)).as_posix() for job in jobs}


def refused(*inputs: str, to: str | None = None, overwrite: bool = False) -> str:
    with pytest.raises(BadOption) as caught:
        plan(inputs, to, suffix="-denoised", overwrite=overwrite)
    return str(caught.value)


# What is found


def test_without_an_output_the_answer_lies_beside_its_input(make):
    make("album/night.jpg")
    assert planned("album/night.jpg") == {"album/night.jpg": "album/night-denoised.jpg"}


def test_a_folder_is_searched_with_its_sub_folders_in_order(make):
    make("in/b.png", "in/a.JPG", "in/deep/er/c.tif")
    assert planned("in", to="out") == {
        "in/a.JPG": "out/a.JPG",
        "in/b.png": "out/b.png",
        "in/deep/er/c.tif": "out/deep/er/c.tif",
    }


def test_a_folder_without_an_output_gets_its_answers_beside_the_inputs(make):
    make("in/a.jpg", "in/deep/b.jpg")
    assert planned("in") == {"in/a.jpg": "in/a-denoised.jpg", "in/deep/b.jpg": "in/deep/b-denoised.jpg"}


def test_in_folders_what_is_hidden_or_no_picture_is_passed_over(make):
    make("in/a.jpg", "in/notes.txt", "in/.hidden.jpg", "in/.trash/b.jpg", "in/README")
    assert list(planned("in", to="out")) == ["in/a.jpg"]


def test_in_folders_pipes_are_passed_over(make):
    make("in/a.jpg")
    os.mkfifo("in/b.jpg")
    assert list(planned("in")) == [str(Path("in/a.jpg"))]


def test_an_input_without_a_name_is_not_the_whole_folder(make):
    make("a.jpg")
    assert refused("") == "an input without a name. Is a variable of the shell empty?"
    with pytest.raises(BadOption, match="without a name"):
        find([""])


def test_an_output_folder_inside_the_input_folder_is_not_read_again(make):
    make("in/a.jpg", "in/out/a.jpg", "in/out/deep/a.jpg")
    assert planned("in", to="in/deep/../out", overwrite=True) == {"in/a.jpg": "in/deep/../out/a.jpg"}


def test_answers_beside_their_inputs_are_not_denoised_again(make):
    make("in/a.jpg", "in/a-denoised.jpg", "in/b.jpg")
    assert planned("in", overwrite=True) == {"in/a.jpg": "in/a-denoised.jpg", "in/b.jpg": "in/b-denoised.jpg"}


def test_what_is_called_as_an_answer_but_has_no_such_input_beside_it_is_an_original(make):
    make("in/grandma-denoised.jpg", "in/deep/a-denoised-2.png", "in/a.png", "in/b.TIF", "in/b-denoised.jpg", "in/b.txt")
    make("in/-denoised.png", "in/c-denoised-denoised.png", "in/c-denoised.png")
    jobs = plan(["in"], None, suffix="-denoised", overwrite=True)
    assert [Path(str(job.source)).relative_to("in").as_posix() for job in jobs] == [
        "-denoised.png", "a.png", "b.TIF", "c-denoised.png", "grandma-denoised.jpg", "deep/a-denoised-2.png",
    ]  # fmt: skip
    # b-denoised.jpg and c-denoised-denoised.png.
    assert jobs.passed_over == 2


def test_an_answer_named_by_the_user_is_taken(make):
    make("a-denoised.jpg")
    assert planned("a-denoised.jpg") == {"a-denoised.jpg": "a-denoised-denoised.jpg"}


def test_answers_named_together_with_their_inputs_are_passed_over(make):
    # As the shell makes of *.jpg at the second run.
    make("a.jpg", "a-denoised.jpg", "b.jpg")
    jobs = plan(["a-denoised.jpg", "a.jpg", "b.jpg"], None, suffix="-denoised", skip_existing=True)
    assert [(str(job.source), job.is_done) for job in jobs] == [("a.jpg", True), ("b.jpg", False)]
    assert jobs.passed_over == 1


def test_answers_in_a_folder_are_passed_over_wherever_the_new_ones_go(make):
    make("in/a.jpg", "in/a-denoised.jpg")
    assert planned("in", to="out") == {"in/a.jpg": "out/a.jpg"}
    assert planned("in/a.jpg", "in/a-denoised.jpg", to="other") == {
        "in/a.jpg": "other/a.jpg",
        "in/a-denoised.jpg": "other/a-denoised.jpg",
    }


def test_a_picture_and_a_link_to_it_are_both_looked_at(make):
    make("in/a.jpg")
    Path("in/link.jpg").symlink_to("a.jpg")
    assert [str(path) for path in find(["in", "in/a.jpg"])] == ["in/a.jpg", "in/link.jpg"]


def test_a_picture_named_twice_is_done_once(make):
    make("in/a.jpg")
    assert planned("in/a.jpg", "in/../in/a.jpg", "in", to="out") == {"in/a.jpg": "out/a.jpg"}


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("a.gif", "a-denoised.png"),
        ("a.pgm", "a-denoised.png"),
        ("a.mpo", "a-denoised.jpg"),
        ("scan", "scan-denoised.png"),
        ("scan.2024", "scan.2024-denoised.png"),
        ("a.b.jpg", "a.b-denoised.jpg"),
    ],
)
def test_a_suffix_that_cannot_be_written_becomes_another(make, name, output):
    make(name)
    assert planned(name) == {name: output}


def test_copies_are_numbered_and_follow_each_other(make):
    make("a.jpg", "b.jpg")
    jobs = plan(["a.jpg", "b.jpg"], "out", suffix="", copies=2)
    assert [str(job.output) for job in jobs] == ["out/a-1.jpg", "out/a-2.jpg", "out/b-1.jpg", "out/b-2.jpg"]


# What -o means


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("clean.png", "clean.png"),
        ("new/clean.png", "new/clean.png"),
        ("there", "there/a.jpg"),
        ("new/", "new/a.jpg"),
        ("new.png/", "new.png/a.jpg"),
        ("new", "new/a.jpg"),
    ],
)
def test_an_output_is_a_file_or_a_folder_by_its_name(make, to, expected):
    make("a.jpg", "there/other.txt")
    assert planned("a.jpg", to=to) == {"a.jpg": expected}


def test_several_inputs_go_into_a_folder(make):
    make("a.jpg", "in/b.jpg")
    assert planned("a.jpg", "in", to="out") == {"a.jpg": "out/a.jpg", "in/b.jpg": "out/b.jpg"}


def test_a_picture_name_for_several_inputs_is_refused(make):
    make("a.jpg", "b.jpg")
    assert refused("a.jpg", "b.jpg", to="out.jpg") == (
        "-o out.jpg: several pictures need a folder. If this is to be one, write out.jpg/"
    )


def test_a_file_where_a_folder_is_needed_is_refused(make):
    make("in/a.jpg", "out")
    assert refused("in", to="out") == "-o out: a file, but several pictures need a folder. Choose another name."
    assert refused("in", to="out/deep/").startswith(f"{Path('out').absolute()}: a file, where a folder is needed.")


def test_a_suffix_that_stands_for_no_format_is_refused(make):
    make("a.jpg")
    said = refused("a.jpg", to="a.xyz")
    assert said.startswith("-o a.xyz: '.xyz' files cannot be written. Use one of .png .jpg")
    assert said.endswith("If it is to be a folder, write a.xyz/")


# What is refused before any work


def test_a_missing_input_is_refused(make):
    make("a.jpg")
    assert refused("a.jpg", "gone.jpg") == "gone.jpg: no such file or folder. Is the name spelled right?"


def test_a_folder_without_pictures_is_refused(make):
    make("in/notes.txt")
    assert refused("in") == "in: no pictures in there. Name a folder with some, or a file."


def test_an_unreadable_sub_folder_is_not_passed_over_in_silence(make, monkeypatch):
    make("in/a.jpg", "in/locked/b.jpg")
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # By monkeypatch and not chmod: root may read everything.
    monkeypatch.setattr(os, "scandir", refuse)
    assert "locked: the folder cannot be read: Permission denied" in refused("in")


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets nobody look at what lies in a folder called locked."""
    stat = os.stat

    def refuse(path: Any, **options: Any) -> os.stat_result:
        if isinstance(path, str | Path) and "locked" in Path(os.path.realpath(path)).parent.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    # By monkeypatch and not chmod: root may enter every folder.
    monkeypatch.setattr(os, "stat", refuse)


def test_what_lies_in_a_folder_that_may_not_be_entered_is_refused(make, locked):
    make("locked/a.jpg", "b.jpg")
    for to in (None, "-"):
        assert refused("locked/a.jpg", to=to) == ("locked/a.jpg: no permission to enter its folder. Ask the owner.")
    assert planned("b.jpg", to="locked/b.jpg") == {"b.jpg": "locked/b.jpg"}
    assert len(plan(["b.jpg"], "locked/b.jpg", suffix="", skip_existing=True)) == 1


def test_a_link_in_a_folder_that_leads_nowhere_fails_alone(make, locked, restorer):
    make("locked/c.txt")
    write(NOISY, Path("in/a.png"))
    Path("in/b.png").symlink_to("../locked/b.png")
    Path("in/c.png").symlink_to("c.png")
    jobs = plan(["in"], "out", suffix="")
    assert [result.status for result in run(jobs, restorer, {})] == ["done", "failed", "failed"]


def test_a_name_that_is_too_long_for_any_file_is_refused(make):
    make("a.jpg")
    long = 300 * "a" + ".jpg"
    for stream in (None, "-"):
        assert refused(long, to=stream) == (
            f"{long}: cannot be opened: {os.strerror(errno.ENAMETOOLONG)}. Is the name spelled right?"
        )
    assert refused("a.jpg", to=long) == f"{long}: the name is too long for a file. Choose a shorter one with -o."


def test_an_existing_output_is_refused_unless_it_may_be_replaced(make):
    make("a.jpg", "b.jpg", "a-denoised.jpg", "b-denoised.jpg")
    assert refused("a.jpg", "b.jpg").startswith("a-denoised.jpg is there already, and so are 1 more. ")
    assert planned("a.jpg", overwrite=True) == {"a.jpg": "a-denoised.jpg"}


def test_existing_outputs_may_be_kept_and_count_as_done(make, restorer):
    make("out/a.png")
    for name in ("a.png", "b.png"):
        write(NOISY, Path("in", name))
    jobs = plan(["in"], "out", suffix="", skip_existing=True)
    seen: list[str] = []
    first, second = run(jobs, restorer, {}, lambda job, _: seen.append(job.source_name))
    assert (first.status, second.status) == ("skipped", "done")
    assert Path("out/a.png").read_text() == "out/a.png"
    assert set(seen) == {str(Path("in/b.png"))}


def test_existing_outputs_are_not_both_kept_and_replaced(make):
    make("a.png")
    with pytest.raises(BadOption, match="either replaced or kept"):
        plan(["a.png"], "out", suffix="", overwrite=True, skip_existing=True)


def test_where_outputs_may_be_kept_an_input_is_still_none(make):
    make("a.png")
    with pytest.raises(BadOption, match="the same file as the input"):
        plan(["a.png"], "a.png", suffix="", skip_existing=True)


def test_a_dangling_link_counts_as_an_existing_output(make):
    make("a.jpg")
    Path("out.jpg").symlink_to("gone.jpg")
    assert refused("a.jpg", to="out.jpg").startswith("out.jpg is there already.")


def same(name: str) -> None:
    """Nothing to do: the name itself leads to the input."""


def linked(name: str) -> None:
    Path(name).symlink_to("in/a.jpg")


def hard_linked(name: str) -> None:
    Path(name).hardlink_to("in/a.jpg")


@pytest.mark.parametrize(
    ("to", "prepare"),
    [
        ("in/a.jpg", same),
        ("in", same),
        ("in/../in/a.jpg", same),
        ("link.jpg", linked),
        ("hard.jpg", hard_linked),
    ],
)
def test_an_input_is_never_overwritten(make, to, prepare):
    make("in/a.jpg")
    prepare(to)
    assert "the same file as the input in/a.jpg. Inputs are never overwritten." in refused(
        "in/a.jpg", to=to, overwrite=True
    )


def test_an_input_is_never_overwritten_by_another_ones_answer(make):
    make("a.jpg", "a-denoised.jpg")
    assert "the same file as the input a-denoised.jpg" in refused("a.jpg", "a-denoised.jpg", overwrite=True)


def test_an_input_is_never_overwritten_through_a_linked_folder(make):
    make("in/a.jpg")
    Path("out").symlink_to("in")
    assert "the same file as the input in/a.jpg" in refused("in", to="out", overwrite=True)


def test_two_inputs_for_one_output_are_refused(make):
    make("2023/a.jpg", "2024/a.jpg")
    assert refused("2023", "2024", to="out") == (
        "2023/a.jpg and 2024/a.jpg would both become out/a.jpg. "
        "Restore them one after the other, into different folders with -o."
    )
    make("in/a.gif", "in/a.png")
    assert "in/a.gif and in/a.png would both become out/a.png" in refused("in", to="out")


def test_two_names_that_differ_in_case_are_two_files_where_the_disk_says_so(make, monkeypatch):
    make("1/a.jpg", "2/A.jpg")
    monkeypatch.setattr("restore.jobs._ignores_case", lambda _: False)
    assert len(planned("1", "2", to="out")) == 2
    monkeypatch.setattr("restore.jobs._ignores_case", lambda _: True)
    assert "would both become out/A.jpg" in refused("1", "2", to="out")


def test_a_disk_that_ignores_case_is_recognised_by_a_folders_name(make, tmp_path, monkeypatch):
    make("lower/1/a.jpg")
    folder = tmp_path / "lower" / "1"
    assert not _ignores_case(folder)
    Path("LOWER").symlink_to("lower")
    assert _ignores_case(folder)


def test_a_folder_without_permission_is_refused(make, monkeypatch):
    make("a.jpg")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert refused("a.jpg", to="out/") == (
        f"{Path.cwd()}: no permission to write there. Choose another folder with -o."
    )


def test_a_folder_in_the_place_of_the_answer_is_refused(make):
    make("a.jpg", "a-denoised.jpg/b.jpg")
    assert "a-denoised.jpg: a folder of this name is in the way" in refused("a.jpg", overwrite=True)


# Standard input and output


def test_a_dash_is_one_picture_from_and_to_a_standard_stream(make):
    make("a.jpg")
    assert plan(["-"], None, suffix="-denoised") == [Job(None, None)]
    assert plan(["-"], "-", suffix="-denoised") == [Job(None, None)]
    assert plan(["a.jpg"], "-", suffix="-denoised") == [Job(Path("a.jpg"), None)]
    assert plan(["-"], "out/b.png", suffix="-denoised") == [Job(None, Path("out/b.png"))]


@pytest.mark.parametrize(
    ("inputs", "to", "message"),
    [
        (["-", "a.jpg"], None, "- is one picture: give one input and one output with it."),
        (["-"], "new/", "-o new/: a picture on standard input has no name. Give a file: -o new/a.png"),
        (["-"], "in", "-o in: a picture on standard input has no name. Give a file: -o in/a.png"),
        (["in"], "-", "in: a folder, but -o - takes one picture. Choose a folder with -o."),
        (["gone.jpg"], "-", "gone.jpg: no such file. Is the name spelled right?"),
    ],
)
def test_a_dash_that_makes_no_sense_is_refused(make, inputs, to, message):
    make("a.jpg", "in/a.jpg")
    assert refused(*inputs, to=to) == message


# The run


def test_a_run_restores_and_tells_the_progress_of_each_job(make, restorer):
    write(NOISY, Path("a.png"))
    write(NOISY, Path("b.png"))
    jobs = plan(["a.png", "b.png"], "out", suffix="")
    told: list[tuple[str, float]] = []
    results = list(run(jobs, restorer, {"sigma": 0.1}, lambda job, share: told.append((str(job.source), share))))
    assert [(result.status, result.error) for result in results] == [("done", None)] * 2
    assert told == [("a.png", 0.0), ("a.png", 1.0), ("b.png", 0.0), ("b.png", 1.0)]
    # 4 x 0.1 of the way to the mean of nine leaves 0.6 + 0.4 / 9 of a pixel's own noise, and some of its neighbours'.
    before, after = (read(Path(name)).pixels.std() for name in ("a.png", "out/a.png"))
    assert after < 0.7 * before


def test_a_clean_picture_is_copied_byte_for_byte(make, restorer):
    write(FLAT, Path("a.png"))
    with Path("a.png").open("ab") as file:
        file.write(b"after the end")
    (result,) = run(plan(["a.png"], None, suffix="-denoised"), restorer, {})
    assert (result.status, dict(result.found), result.notes) == ("unchanged", {"sigma": 0.0}, ())
    assert Path("a-denoised.png").read_bytes() == Path("a.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "options", "note"),
    [
        ("a.tif", {}, "only the first of 2 pages was read"),
        ("a.webp", {"lossless": True}, "an animation: only its first picture was read"),
        ("a.png", {}, "an animation: only its first picture was read"),
        ("a.mpo", {}, "further pictures inside the JPEG (another view, a depth or brightness map) were left out"),
    ],
)
def test_of_a_clean_picture_it_is_told_what_else_is_in_the_file(make, restorer, name, options, note):
    first, second = (PillowImage.new("RGB", (40, 40), (level,) * 3) for level in (120, 60))
    first.save(name, save_all=True, append_images=[second], **options)
    (result,) = run(plan([name], "out/", suffix=""), restorer, {})
    assert result.status == "unchanged"
    assert result.notes == (
        note, "that is how it was looked at; the file was copied as it is, with what was not looked at",
    )  # fmt: skip
    assert result.copied
    (made,) = Path("out").iterdir()
    assert made.read_bytes() == Path(name).read_bytes()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="pipes have no path here")
def test_a_clean_picture_that_comes_through_a_pipe_is_copied_too(make, restorer):
    data = encode(FLAT, "PNG")
    reading, writing = os.pipe()
    # As a shell's <(cat a.png): the bytes come once, whoever opens it again finds nothing.
    os.write(writing, data)
    os.close(writing)
    (result,) = run(plan([f"/dev/fd/{reading}"], "out.png", suffix=""), restorer, {})
    os.close(reading)
    assert (result.status, result.error) == ("unchanged", None)
    assert Path("out.png").read_bytes() == data


def test_a_clean_picture_is_converted_where_the_format_changes(make, restorer):
    write(FLAT, Path("a.png"))
    (result,) = run(plan(["a.png"], "b.bmp", suffix=""), restorer, {})
    assert result.status == "unchanged"
    assert result.notes == ("converted from PNG to BMP",)
    assert Path("b.bmp").read_bytes()[:2] == b"BM"
    np.testing.assert_array_equal(read(Path("b.bmp")).pixels, FLAT.pixels)


def test_what_an_output_cannot_hold_is_said(make, restorer):
    write(Image(NOISY.pixels, alpha=np.full((64, 64), 9, np.uint8)), Path("a.png"))
    (result,) = run(plan(["a.png"], "b.jpg", suffix=""), restorer, {})
    assert result.notes == ("JPEG holds no transparency: the picture was laid on white",)


def test_a_failed_job_does_not_stop_the_rest(make, restorer):
    make("bad.png")
    write(NOISY, Path("good.png"))
    bad, good = run(plan(["bad.png", "good.png"], "out", suffix=""), restorer, {})
    assert bad.status == "failed"
    assert bad.error is not None
    assert bad.error.startswith("bad.png: not a picture that can be read.")
    assert good.status == "done"
    assert [path.name for path in Path("out").iterdir()] == ["good.png"]


def test_an_output_that_came_into_being_meanwhile_is_not_replaced(make, restorer):
    write(NOISY, Path("a.png"))
    jobs = plan(["a.png"], "out.png", suffix="")
    make("out.png")
    (result,) = run(jobs, restorer, {})
    assert result.status == "failed"
    assert result.error == "out.png: came into being while the picture was restored. It was not replaced."
    assert Path("out.png").read_text() == "out.png"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            NotEnoughMemory("the memory does not suffice. Try a smaller --tile."),
            "a.png: the memory does not suffice. T",
        ),
        (MemoryError(), "a.png: not enough memory for it."),
    ],
)
def test_memory_that_does_not_suffice_fails_one_file_by_its_name(make, restorer, monkeypatch, error, message):
    write(NOISY, Path("a.png"))

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Restorer, "__call__", fail)
    (result,) = run(plan(["a.png"], None, suffix="-denoised"), restorer, {})
    assert result.status == "failed"
    assert str(result.error).startswith(message)


@pytest.mark.parametrize("way", ["picture", "mask"])
def test_an_answer_and_its_mask_are_written_both_or_neither(make, way):
    write(NOISY, Path("a.png"))
    jobs = plan(["a.png"], "out.png", suffix="")

    def work(image: Image, tick: Callable[[float], None]) -> Restored:
        # Somebody else was quicker.
        make("out.png" if way == "picture" else "mask.png")
        return Restored(image.with_pixels(255 - image.pixels), {}, mask=np.zeros(image.pixels.shape[:2], np.uint8))

    (result,) = run_each(jobs, work, masks={jobs[0]: Path("mask.png")})
    theirs, ours = ("out.png", "mask.png") if way == "picture" else ("mask.png", "out.png")
    assert result.error == f"{theirs}: came into being while the picture was restored. It was not replaced."
    assert Path(theirs).read_text() == theirs
    assert not Path(ours).exists()


def masked(image: Image, tick: Callable[[float], None]) -> Restored:
    """Inverts a picture, with a black mask."""
    return Restored(image.with_pixels(255 - image.pixels), {}, mask=np.zeros(image.pixels.shape[:2], np.uint8))


@pytest.mark.parametrize("which", [1, 2], ids=["picture", "mask"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), MemoryError(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("old", [True, False], ids=["old mask", "no mask"])
def test_a_picture_or_mask_that_is_not_written_leaves_all_as_it_was(make, monkeypatch, error, old, which):
    write(NOISY, Path("a.png"))
    if old:
        make("masks/a.png")
    jobs = plan(["a.png"], "out.png", suffix="", overwrite=True)
    synced: list[int] = []

    def fail(file: int) -> None:
        synced.append(file)
        # After the picture the mask.
        if len(synced) == which:
            raise error

    monkeypatch.setattr(os, "fsync", fail)
    with suppress(KeyboardInterrupt):
        (result,) = run_each(jobs, masked, masks={jobs[0]: Path("masks/a.png")})
        assert result.status == "failed"
    assert sorted(path.name for path in Path().iterdir()) == (["a.png", "masks"] if old else ["a.png"])
    if old:
        assert [(path.name, path.read_text()) for path in Path("masks").iterdir()] == [("a.png", "masks/a.png")]


def test_a_mask_that_cannot_be_written_is_named_as_the_user_does(make, monkeypatch):
    write(NOISY, Path("a.png"))
    jobs = plan(["a.png"], "out.png", suffix="")

    synced: list[int] = []

    def full(file: int) -> None:
        synced.append(file)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (result,) = run_each(jobs, masked, masks={jobs[0]: Path("mask.png")})
    assert result.error == "mask.png: the disk is full. Make room, or write to another disk."
    assert [path.name for path in Path().iterdir()] == ["a.png"]


def test_a_mask_appears_before_its_picture(make, monkeypatch):
    # A picture alone counts as done, and its mask would never come.
    write(NOISY, Path("a.png"))
    jobs = plan(["a.png"], "out.png", suffix="")
    appeared = []
    replace = Path.replace

    def watched(part: Path, target: Path) -> Path:
        appeared.append(target.name)
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", watched)
    (result,) = run_each(jobs, masked, masks={jobs[0]: Path("mask.png")})
    assert result.status == "done"
    assert appeared == ["mask.png", "out.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such permissions")
@pytest.mark.parametrize("pixels", [NOISY, Image(np.full((40, 50, 3), 99, np.uint8))], ids=["restored", "copied"])
def test_an_answer_may_be_read_by_whom_its_source_may(make, restorer, pixels):
    write(pixels, Path("a.png"))
    Path("a.png").chmod(0o600)
    (result,) = run(plan(["a.png"], "out.png", suffix=""), restorer, {})
    assert result.error is None
    assert Path("out.png").stat().st_mode & 0o777 == 0o600


def test_an_interrupted_run_keeps_what_is_done_and_leaves_nothing_half_written(make, restorer, monkeypatch):
    for name in ("a.png", "b.png"):
        write(NOISY, Path(name))
    results = run(plan(["a.png", "b.png"], "out", suffix=""), restorer, {})
    next(results)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert [path.name for path in Path("out").iterdir()] == ["a.png"]
