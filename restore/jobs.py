"""Which pictures a command works on, and where each answer goes: found, named and checked before any work.

Knows nothing of the command line; paths are texts as a user writes them, "-" is a standard stream.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from restore.errors import BadOption
from restore.image import format_for, is_picture_name

STREAM = "-"
#: An MPO's first picture is a JPEG; what else is read only becomes PNG.
_OTHER_SUFFIXES = {".mpo": ".jpg"}

Identity = tuple[int, int]
#: A picture, and its path below the folder that was named, None where it was named itself.
Found = tuple[Path, Path | None]


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to restore: None stands for standard input, and for standard output."""

    source: Path | None
    output: Path | None
    overwrite: bool = False
    #: Its output is there already, and is to be kept.
    is_done: bool = False
    #: It goes on where a run was stopped, which may have left a mask without its picture.
    resumes: bool = False
    #: The source's path below the folder that was named; None where it was named itself.
    below: Path | None = None

    @property
    def source_name(self) -> str:
        """What messages call the input."""
        return "standard input" if self.source is None else str(self.source)

    @property
    def output_name(self) -> str:
        """What JSON calls the output, as a user writes it."""
        return STREAM if self.output is None else str(self.output)


class Jobs(list[Job]):
    """Jobs in their order; `passed_over` tells how many further pictures are answers of an earlier run."""

    def __init__(self, jobs: Iterable[Job], *, passed_over: int = 0) -> None:
        super().__init__(jobs)
        self.passed_over = passed_over


def plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    suffix: str,
    overwrite: bool = False,
    skip_existing: bool = False,
    copies: int = 1,
) -> Jobs:
    """Every picture among files and folders, and where each goes; nothing is written.

    Without `output` an answer lies beside its input, `suffix` after its stem; else in the file or
    below the folder `output`, sub-folders and suffixes kept. In folders, hidden files, files that
    are no pictures by name, the output folder and earlier answers beside their inputs are passed over; without `output`
    also answers that were named with their inputs (`*.jpg`). What is called as an answer without such an input is a
    picture as any other. With `copies` above 1 each picture is planned so often in a row, with a number after the
    output's stem. With `skip_existing` what has an output already counts as done: outputs appear whole or not at all.
    Raises BadOption for whatever would overwrite an input or an existing file (unless `overwrite`), collide, or cannot
    be written.
    """
    if overwrite and skip_existing:
        raise BadOption("--overwrite and --skip-existing: existing outputs are either replaced or kept. Choose one.")
    answers: set[Path] = set()
    if STREAM in (*inputs, output):
        jobs = [_plan_stream(inputs, output, overwrite=overwrite)]
    else:
        place = _placer(inputs, output, suffix=suffix)
        folder = None if output is None else Path(output)
        found = [pair for text in inputs for pair in _find(text, besides=folder)]
        _refuse_none(found, inputs)
        answers = _answers_among(found, suffix)
        jobs = _without_collisions(
            Job(source, place(source, below), overwrite, below=below)
            for source, below in found
            # One that was named is never replaced, and taken where its answer goes elsewhere.
            if source not in answers or (below is None and (overwrite or output is not None))
        )
    if copies > 1:
        jobs = [_numbered(job, number) for job in jobs for number in range(1, copies + 1)]
    if skip_existing:
        jobs = [replace(job, is_done=_is_done(job), resumes=True) for job in jobs]
    _refuse_unsafe(jobs)
    return Jobs(jobs, passed_over=len(answers))


def _is_done(job: Job) -> bool:
    return job.output is not None and os.path.isfile(job.output)


def _numbered(job: Job, number: int) -> Job:
    if job.output is None:
        raise BadOption(f"{STREAM} is one picture: several versions need a file's name. Give one with -o.")
    return replace(job, output=job.output.with_name(f"{job.output.stem}-{number}{job.output.suffix}"))


def find(inputs: Sequence[str]) -> list[Path | None]:
    """Every picture among files and folders, each once, to be read only; None for "-", standard input.

    Raises BadOption for what is not there, and where there is no picture at all.
    """
    found: dict[str, Path | None] = {}
    for text in inputs:
        if text == STREAM:
            found[STREAM] = None
        else:
            # A link to a picture is a further name of it: both are told, as both are restored.
            found |= {str(Path(os.path.realpath(p.parent), p.name)): p for p, _ in _find(text, besides=None)}
    _refuse_none(found, inputs)
    return list(found.values())


def _refuse_none(found: Collection[object], inputs: Sequence[str]) -> None:
    if not found:
        raise BadOption(f"{', '.join(inputs)}: no pictures in there. Name a folder with some, or a file.")


def _find(text: str, *, besides: Path | None) -> Iterator[Found]:
    """Each picture of an input."""
    if not text:
        raise BadOption("an input without a name. Is a variable of the shell empty?")
    path = Path(text)
    _refuse_missing(path, "file or folder")
    if not os.path.isdir(path):
        yield path, None
        return

    def refuse(error: OSError) -> None:
        raise BadOption(f"{error.filename}: the folder cannot be read: {error.strerror}. Ask its owner.") from error

    avoided = None if besides is None else os.path.realpath(besides)
    for name, folders, files in os.walk(path, onerror=refuse):
        folder = Path(name)
        # In place: os.walk goes down into what is left.
        folders[:] = sorted(f for f in folders if f[0] != "." and os.path.realpath(folder / f) != avoided)
        for file in sorted(files):
            found = folder / file
            # A pipe of such a name would never end. What cannot be reached is kept, to fail on its own.
            is_file = os.path.isfile(found) or not os.path.exists(found)
            if file[0] != "." and is_picture_name(found) and is_file:
                yield found, found.relative_to(path)


def _refuse_missing(path: Path, what: str) -> None:
    """Raise BadOption where nothing is there, or nothing that can be reached."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise BadOption(f"{path}: no such {what}. Is the name spelled right?") from None
    except PermissionError:
        raise BadOption(f"{path}: no permission to enter its folder. Ask the owner.") from None
    except OSError as error:
        raise BadOption(f"{path}: cannot be opened: {error.strerror}. Is the name spelled right?") from None


def _answers_among(found: Iterable[Found], suffix: str) -> set[Path]:
    """What an earlier run put beside its input, one of several versions or not."""
    if not suffix:
        return set()
    pictures = {path.parent / path.stem for path, _ in found}
    called_so = re.compile(rf"(.*){re.escape(suffix)}(-\d+)?", re.DOTALL)
    return {path for path, _ in found if (name := called_so.fullmatch(path.stem)) and path.parent / name[1] in pictures}


def _placer(inputs: Sequence[str], output: str | None, *, suffix: str) -> Callable[[Path, Path | None], Path]:
    """A function from what was found to its output."""
    if output is None:
        return lambda source, _: source.with_name(_name_for(source, suffix))
    path = Path(output)
    if not _is_folder(output, inputs):
        return lambda *_: path
    return lambda source, below: path / (below.parent if below else "") / _name_for(source, "")


def _is_folder(output: str, inputs: Sequence[str]) -> bool:
    """Whether `output` names a folder. Raises BadOption where it cannot be what the inputs need."""
    path = Path(output)
    if os.path.isdir(path) or output.endswith(("/", os.sep)):
        return True
    several = len(inputs) > 1 or os.path.isdir(inputs[0])
    if several and os.path.exists(path):
        raise BadOption(f"-o {output}: a file, but several pictures need a folder. Choose another name.")
    if several and is_picture_name(path):
        raise BadOption(f"-o {output}: several pictures need a folder. If this is to be one, write {output}/")
    if several or not (path.suffix or os.path.exists(path)):
        return True
    _check_suffix(path, output)
    return False


def _check_suffix(path: Path, output: str) -> None:
    try:
        format_for(path)
    except BadOption as error:
        raise BadOption(f"-o {error} If it is to be a folder, write {output}/") from None


def _name_for(source: Path, suffix: str) -> str:
    """The output's name: the file suffix is kept where such a file can be written."""
    try:
        format_for(source)
    except BadOption:
        # Of `scan.2024` all is kept: `scan.2025` may lie beside it.
        stem = source.stem if is_picture_name(source) else source.name
        return stem + suffix + _OTHER_SUFFIXES.get(source.suffix.lower(), ".png")
    return source.stem + suffix + source.suffix


def _plan_stream(inputs: Sequence[str], output: str | None, *, overwrite: bool) -> Job:
    if len(inputs) != 1:
        raise BadOption(f"{STREAM} is one picture: give one input and one output with it.")
    (text,) = inputs
    if text != STREAM:
        _refuse_missing(Path(text), "file")
    if text != STREAM and os.path.isdir(text):
        raise BadOption(f"{text}: a folder, but -o {STREAM} takes one picture. Choose a folder with -o.")
    source = None if text == STREAM else Path(text)
    if output is None or output == STREAM:
        return Job(source, None, overwrite)
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        raise BadOption(
            f"-o {output}: a picture on standard input has no name. Give a file: -o {Path(output, 'a.png')}"
        )
    _check_suffix(Path(output), output)
    return Job(source, Path(output), overwrite)


def _without_collisions(jobs: Iterable[Job]) -> list[Job]:
    """The jobs, each once. Raises BadOption when two inputs would land on one output."""
    taken: dict[str, Job] = {}
    for job in jobs:
        assert job.source is not None
        assert job.output is not None
        first = taken.setdefault(_key(job.output), job)
        assert first.source is not None
        if os.path.realpath(first.source) != os.path.realpath(job.source):
            raise BadOption(
                f"{first.source} and {job.source} would both become {job.output}. "
                "Restore them one after the other, into different folders with -o."
            )
    return list(taken.values())


def _key(path: Path) -> str:
    """Equal for two paths that name one file, whether it is there or not."""
    key = str(Path(os.path.realpath(path.parent), path.name))
    return key.casefold() if _ignores_case(_nearest_folder(path)) else key


def _ignores_case(folder: Path) -> bool:
    """Whether `A` and `a` are one file in this folder, judged by its own name or that of one above."""
    for part in (folder, *folder.parents):
        if part.name != part.name.swapcase():
            other = part.with_name(part.name.swapcase())
            return os.path.exists(other) and other.samefile(part)
    return False


def _nearest_folder(path: Path) -> Path:
    """The first of the path's parents that is there, absolute."""
    return next(parent for parent in path.absolute().parents if os.path.lexists(parent))


def _refuse_unsafe(jobs: Sequence[Job]) -> None:
    """Raise BadOption if an output is an input, is there already, or has no folder that it could be put in."""
    sources = {_identity(job.source): job.source_name for job in jobs}
    there = []
    for job in jobs:
        if job.output is None:
            continue
        if _is_taken(job.output):
            source = sources.get(_identity(job.output)) if os.path.exists(job.output) else None
            if source is not None:
                raise BadOption(f"{job.output}: the same file as the input {source}. Inputs are never overwritten.")
            if os.path.isdir(job.output):
                raise BadOption(f"{job.output}: a folder of this name is in the way. Choose another name with -o.")
            if not (job.overwrite or job.is_done):
                there.append(job.output)
        _check_folder(_nearest_folder(job.output))
    if there:
        more = f", and so are {len(there) - 1} more" if len(there) > 1 else ""
        raise BadOption(
            f"{there[0]} is there already{more}. Replace with --overwrite, keep with --skip-existing, "
            "or choose another name with -o."
        )


def _is_taken(path: Path) -> bool:
    """Whether anything is there, be it a link to nowhere. Raises BadOption for a name that no file can have."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise BadOption(f"{path}: the name is too long for a file. Choose a shorter one with -o.") from None
        return False
    return True


def _identity(path: Path | None) -> Identity | None:
    """What links and spellings of one file share; None where there is none, as for a pipe."""
    with suppress(OSError, ValueError, AttributeError):
        status = os.fstat(sys.stdin.fileno()) if path is None else path.stat()
        return status.st_dev, status.st_ino
    return None


def _check_folder(folder: Path) -> None:
    if not os.path.isdir(folder):
        raise BadOption(f"{folder}: a file, where a folder is needed. Choose another folder with -o.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadOption(f"{folder}: no permission to write there. Choose another folder with -o.")
