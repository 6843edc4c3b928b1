"""What the page's tabs share: a photo is dropped, looked at, worked on, compared and offered for download."""

from __future__ import annotations

import html
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import gradio as gr

from restore.errors import BadOption, RestoreError
from restore.image import Image, format_for, read, write
from restore.previews import DETAIL, preview, save_preview

#: Refused from the header, before anything is decoded.
MAX_PIXELS = 100_000_000

#: For a photo whose name says another format than its content; GIF and PPM cannot be written and become PNG.
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp"}

# gradio knows a function's progress bar by this default; the call is here because a default is made only once.
PROGRESS = gr.Progress()

#: How an event is handled that only changes the page, and one that computes: one of these at a time, of all tabs.
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
SLOW: dict[str, Any] = {"concurrency_id": "compute", "concurrency_limit": 1, "api_visibility": "private"}

#: What an event changes: a component, to what it shows from now on.
Updates = dict[Any, Any]
#: Is told the finished share, up to 1; raises CancelledError where the visitor cancelled.
Tick = Callable[[float], None]


class CancelledError(Exception):
    """Raised from the progress callback to leave the engine between two tiles."""


class Answer(Protocol):
    """What came out of a run: where nothing was done its image is the photo, the same object."""

    @property
    def image(self) -> Image: ...


A = TypeVar("A", bound=Answer)


class PhotoTab(ABC):
    """A tab on which a photo is dropped, worked on and offered again.

    Serves many visitors at once: nothing of a photo is kept here. A tab of its own sets what its parts need and then
    calls `__init__`, which builds them; its `look` and `run` take their settings from gradio and hand the rest to
    `_look` and `_run`.
    """

    #: What a run does, said beside its progress, and what its file's name has more than the photo's.
    doing: ClassVar[str]
    suffix: ClassVar[str]

    def __init__(self) -> None:
        self._cancelled: set[str | None] = set()
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self._build_controls()
            with gr.Column(scale=5, min_width=320):
                self._build_views()
        self._connect()

    @abstractmethod
    def _build_controls(self) -> None:
        """The column on the left: `_build_photo`, the settings, `_build_start` and `_build_answer`."""

    @abstractmethod
    def _build_views(self) -> None:
        """The column on the right: the photo before and after."""

    @abstractmethod
    def _connect(self) -> None:
        """What happens when: `_on_photo`, `_on_click`, and what else the tab has."""

    @abstractmethod
    def _own_parts(self) -> list[Any]:
        """Those parts, beside the ones that every tab has, that its events change."""

    @abstractmethod
    def _emptied(self) -> Updates:
        """Its own parts without a photo."""

    def _build_photo(self, label: str, *, elem_id: str | None = None) -> None:
        self.photo = drop_zone(label, elem_id=elem_id)
        self.facts = gr.Markdown(visible=False)

    def _build_start(self, label: str) -> None:
        self.start = gr.Button(label, variant="primary", interactive=False)

    def _build_answer(self) -> None:
        self.cancel = gr.Button("Cancel", visible=False)
        self.answer = gr.Markdown(visible=False)
        self.download = gr.DownloadButton("Download", visible=False)

    @property
    def _outputs(self) -> list[Any]:
        """All that any event of the tab may change."""
        shared = [self.photo, self.facts, self.start, self.cancel, self.answer, self.download]
        return [*shared, *self._own_parts()]

    def _on_photo(
        self, look: Callable[..., Updates], settings: Sequence[Any] = (), *, busy: Sequence[Any] | None = None
    ) -> None:
        """A dropped photo is looked at, and forgotten when it is taken away; `busy` shows progress, by default all."""
        self.photo.upload(look, [self.photo, *settings], self._outputs, show_progress_on=busy, **SLOW)
        self.photo.clear(self.forget, None, self._outputs, **QUICK)
        self.cancel.click(self.stop, None, None, **QUICK)

    def _on_click(
        self, button: gr.Button, run: Callable[..., Updates], settings: Sequence[Any], *, busy: Sequence[Any]
    ) -> None:
        """The button runs on the photo with these settings."""
        begun = button.click(self.begin, None, self._outputs, **QUICK)
        done = begun.then(run, [self.photo, *settings], self._outputs, show_progress_on=busy, **SLOW)
        done.then(self.end, self.photo, self._outputs, **QUICK)

    def forget(self, request: gr.Request | None = None) -> Updates:
        """The tab without a photo; what is being computed for the old one stops."""
        if request:
            self.stop(request)
        return {
            self.facts: gr.Markdown(visible=False),
            self.start: gr.Button(interactive=False),
            self.cancel: gr.Button(visible=False),
            self.answer: gr.Markdown(visible=False),
            self.download: gr.DownloadButton(visible=False),
        } | self._emptied()

    def begin(self, request: gr.Request) -> Updates:
        """At once, before the queue is joined."""
        self._cancelled.discard(request.session_hash)
        return {
            self.start: gr.Button(interactive=False),
            self.cancel: gr.Button(visible=True),
            self.answer: gr.Markdown(visible=False),
            self.download: gr.DownloadButton(visible=False),
        }

    def end(self, path: str | None) -> Updates:
        """After every run, also a failed one."""
        return {self.start: gr.Button(interactive=path is not None), self.cancel: gr.Button(visible=False)}

    def stop(self, request: gr.Request) -> None:
        """Leave the running computation of this visitor before its next tile."""
        self._cancelled.add(request.session_hash)

    def _look(self, path: str, show: Callable[[Image], Updates]) -> Updates:
        """The tab as it is with a photo that was just dropped: `show` says what; a notice for one that is refused."""
        cleared = self.forget()
        try:
            return cleared | show(open_photo(Path(path)))
        except RestoreError as error:
            return cleared | {self.photo: None, self.facts: refusal(error)}

    def _described(self, image: Image, more: str = "") -> Updates:
        """What there is to say of a photo, and that work on it can start."""
        return {
            self.facts: gr.Markdown(describe(image) + more, visible=True),
            self.start: gr.Button(interactive=True),
        }

    def _source(self, image: Image) -> gr.Image:
        """A photo before anything is done."""
        return gr.Image(save_preview(preview(image), self._folder(), "photo"), visible=True)

    def _run(
        self,
        path: str,
        work: Callable[[Image, Tick], A],
        show: Callable[[Image, A, Path], Updates],
        request: gr.Request,
        progress: gr.Progress,
    ) -> Updates:
        """What `work` makes of the photo, offered, and shown by `show`, which gets photo, answer and download.

        The download lies in a folder of its own. A notice for what is refused and for a run that was cancelled.
        """

        def tick(share: float) -> None:
            if request.session_hash in self._cancelled:
                raise CancelledError
            progress(0.9 * share, desc=self.doing)

        try:
            tick(0.0)
            image = open_photo(Path(path))
            answer = work(image, tick)
            progress(0.9, desc="Saving the photo")
            download = deliver(Path(path), image, answer, self._folder(), suffix=self.suffix)
            tick(1.0)
            offer = gr.DownloadButton(f"Download {download.name}", value=download, visible=True)
            return {self.download: offer} | show(image, answer, download)
        except CancelledError:
            gr.Info("Cancelled: the photo is as it was.")
            return dict(gr.skip())
        except RestoreError as error:
            return {self.answer: refusal(error)}

    def _folder(self) -> Path:
        return new_folder(self.photo.GRADIO_CACHE)


def new_folder(cache: str) -> Path:
    """A folder with a name that cannot be guessed, in gradio's cache, where `delete_cache` cleans up."""
    Path(cache).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=cache))


def drop_zone(label: str, *, height: int = 140, elem_id: str | None = None) -> gr.File:
    """Where a photo is dropped."""
    kinds = ["image", ".jfif", ".mpo", ".apng"]
    return gr.File(label=label, file_types=kinds, height=height, elem_id=elem_id)


def slider(label: str) -> gr.ImageSlider:
    """Before and after, in one frame."""
    return gr.ImageSlider(label=label, format="png", interactive=False, buttons=["fullscreen"], max_height=720)


def pair(before: Image, after: Image, folder: Path, window: tuple[slice, slice] | None = None) -> tuple[str, str]:
    """Both as a `slider` shows them, whole or a window; saved in the folder."""
    kind = "-detail" if window else ""
    pictures = ((before, "before"), (after, "after"))
    first, second = (save_preview(preview(image, window), folder, name + kind) for image, name in pictures)
    return first, second


def actual_pixels(before: Image, after: Image, folder: Path, window: tuple[slice, slice]) -> gr.ImageSlider:
    """A window of both, pixel by pixel."""
    # As wide as its pixels and its two borders: enlarged or shrunk they would not be the actual ones.
    return gr.ImageSlider(pair(before, after, folder, window), width=min(before.width, DETAIL[1]) + 2)


def refusal(error: RestoreError) -> gr.Markdown:
    """Show a notice that goes away; returns the same sentence for the page, where it stays."""
    # It may hold a file's name, and both places read HTML.
    sentence = html.escape(str(error))
    gr.Warning(sentence)
    return gr.Markdown(sentence, visible=True)


def open_photo(path: Path) -> Image:
    """The photo that a visitor dropped. Raises UnreadableImage, also for one that is too large for a page."""
    return read(path, max_pixels=MAX_PIXELS, name=path.name)


def describe(image: Image) -> str:
    """Its size and format, and what there is to be said of it."""
    notes = "".join(f" {html.escape(note)}." for note in image.notes)
    return f"{image.width} x {image.height} pixels, {image.format}.{notes}"


def deliver(path: Path, image: Image, answer: Answer, folder: Path, *, suffix: str) -> Path:
    """Write NAMESUFFIX.EXT into the folder, in the photo's own format; the same bytes where nothing was done."""
    if answer.image is image:
        return Path(shutil.copyfile(path, folder / f"{path.stem}{suffix}{path.suffix}"))
    extension = _SUFFIXES.get(image.format, ".png")
    with suppress(BadOption):
        extension = path.suffix if format_for(path) == image.format else extension
    out = folder / f"{path.stem}{suffix}{extension}"
    write(answer.image, out)
    return out
