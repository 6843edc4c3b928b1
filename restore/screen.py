"""Tells how a batch goes: lines and progress bars on stderr, or one JSON object a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from restore.batch import Result
from restore.contract import ModelSpec
from restore.jobs import STREAM, Job, Jobs

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


_STATUSES = ("done", "unchanged", "skipped", "failed")


def summary(counts: Mapping[str, int], failed: Sequence[str]) -> str:
    """How many inputs became what, and the names of those that failed."""
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return "\n".join([*([told] if told else []), *(["Failed:", *(f"  {name}" for name in failed)] if failed else [])])


def batch_summary(jobs: Jobs, results: Sequence[Result], *, quiet: bool = False) -> str:
    """That of a batch, if `quiet` the failed alone; nothing where one picture's own line told all."""
    statuses: list[str] = [result.status for result in results]
    if len(jobs) == 1 and "skipped" not in statuses and not jobs.passed_over:
        return ""
    counts = {status: statuses.count(status) for status in _STATUSES}
    counts["passed over (answers of an earlier run)"] = jobs.passed_over
    return summary({} if quiet else counts, names_of_failed(results))


def names_of_failed(results: Sequence[Result]) -> list[str]:
    """What the inputs that failed are called."""
    return [result.job.source_name for result in results if result.status == "failed"]


class Screen:
    """A context in which results are shown as they come; at its end it names what failed.

    `spec` is the model's where it is one alone, `params` are on its scale; everything is shown on the user's. `words`
    says what became of a picture, done or unchanged, where it is not noise.
    """

    def __init__(
        self,
        jobs: Jobs,
        spec: ModelSpec | None,
        params: Mapping[str, float],
        *,
        as_json: bool,
        quiet: bool,
        words: Mapping[str, str] | None = None,
    ) -> None:
        self._jobs = jobs
        self._model = spec.name if spec else None
        self._scales = {param.name: param.scale for param in spec.params} if spec else {}
        #: What is found below these is taken for nothing.
        self._least = {param.name: param.nothing_below for param in spec.params} if spec else {}
        self._params = self._for_user(params)
        self._json, self._quiet = as_json, quiet
        self._words = words or {}
        self._results: list[Result] = []
        self._bars: _Bars | None = None

    @property
    def failed(self) -> list[str]:
        """The names of the inputs that failed."""
        return names_of_failed(self._results)

    def __enter__(self) -> Screen:
        if not (self._json or self._quiet) and sys.stderr.isatty():
            self._bars = _Bars(len(self._jobs))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._bars:
            self._bars.close()
            self._bars = None
        said = batch_summary(self._jobs, self._results, quiet=self._quiet)
        if said and kind is None and not self._json:
            self._say(said)

    def progress(self, job: Job, share: float) -> None:
        """Move the bars: `share` of this job is done."""
        if self._bars:
            self._bars.move(Path(job.source_name).name, share, done=len(self._results))

    def show(self, result: Result) -> None:
        """Tell what became of one job."""
        self._results.append(result)
        if self._json:
            # Where the picture itself goes to standard output, nothing else may.
            typer.echo(json.dumps(self.as_row(result)), err=result.job.output is None)
        elif result.status == "failed":
            self._say(f"Error: {result.error}")
        elif not self._quiet and result.status != "skipped":
            for line in (*self.as_lines(result), *(f"  {note}" for note in result.notes)):
                self._say(line)

    def _say(self, text: str) -> None:
        if self._bars:
            self._bars.say(text)
        else:
            typer.echo(text, err=True)

    def as_lines(self, result: Result) -> list[str]:
        """What is told of a job that did not fail, but for its notes."""
        target = "" if result.job.output is None else f" -> {result.job.output}"
        if result.status in self._words:
            what = self._words[result.status]
        elif result.status == "unchanged" and all(v < self._least.get(name, 1) for name, v in result.found.items()):
            told = ", ".join(f"{name} {value:g} told" for name, value in self._params.items() if name == "sigma")
            what = told or f"no {'mark' if 'marked' in result.found else 'noise'} found"
        elif "marked" in result.found:
            what = f"mark on {_percent(result.found['marked'])} of it taken off"
        elif result.found:
            what = f"noise, sigma about {self._for_user(result.found)['sigma']:.2g}"
            what += ", of which nothing was taken" if result.status == "unchanged" else ""
        else:
            what = ", ".join(f"{name} {value:g}" for name, value in self._params.items())
        if result.copied:
            what += ", left as it is"
        return [f"{result.job.source_name}: {what}{target}, {result.seconds:.1f} s"]

    def as_row(self, result: Result) -> dict[str, Any]:
        """The same for machines, of any job."""
        job = result.job
        return {
            "source": STREAM if job.source is None else str(job.source),
            "output": job.output_name,
            "model": self._model,
            "params": self._params,
            "found": self._for_user(result.found),
            "seconds": round(result.seconds, 3),
            "status": result.status,
            "error": result.error,
            "notes": list(result.notes),
        }

    def _for_user(self, values: Mapping[str, float]) -> dict[str, float]:
        return {
            name: round(value * self._scales.get(name, 1.0), 3 if name in self._scales else 6)
            for name, value in values.items()
        }


def _percent(share: float) -> str:
    """With one decimal; what is less is not called nothing."""
    return f"{max(100 * share, 0.1):.1f} %"


class _Bars:
    """One bar for the tiles of the current file, and one for all files where there are several."""

    def __init__(self, files: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        name = TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", max_width=40)
        )
        self._progress: Progress = Progress(
            name,
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            # A picture may be on its way to standard output.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._file: TaskID = self._progress.add_task("", total=1.0)
        self._all: TaskID = self._progress.add_task(f"all {files} files", total=files, visible=files > 1)
        self._progress.start()

    def move(self, name: str, share: float, *, done: int) -> None:
        if share == 0.0:
            # Anew, so that the time left is that of this file.
            self._progress.reset(self._file, description=name)
        self._progress.update(self._file, completed=share)
        self._progress.update(self._all, completed=done + share)

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
