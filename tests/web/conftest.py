"""The page in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import pytest

ROOT = Path(__file__).parents[2]

#: The server, watched: each address that it opens a connection to is written to the file.
SERVER = """
import socket, sys
port, log = int(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
def watch(event, args):
    if event == "socket.connect" and args[0].family != socket.AF_UNIX:
        log.write(f"{args[1][0]}\\n")
    elif event == "socket.getaddrinfo":
        log.write(f"{args[0]}\\n")
sys.addaudithook(watch)
from restore.web import serve
serve(port=port)
"""


@dataclass(frozen=True)
class Server:
    """The page's own process."""

    url: str
    process: subprocess.Popen[bytes]
    connections: Path
    temporary: Path
    home: Path

    def peak_memory(self) -> int:
        """The most resident memory that the process ever had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(smoother: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`serve` with the `smoother` in place of the shipped denoiser."""
    with serving(smoother, tmp_path_factory.mktemp("server")) as served:
        yield served


@contextmanager
def serving(models: Path, folder: Path) -> Iterator[Server]:
    """`serve` on a free port, behind a proxy that is not there, ended as a container ends it: with SIGTERM.

    What `models` lacks, the shipped weights have.
    """
    port = free_port()
    temporary, home, log = folder / "tmp", folder / "home", folder / "connections"
    temporary.mkdir()
    home.mkdir()
    own = {"RESTORE_MODELS": models, "TMPDIR": temporary, "HOME": home, "HTTP_PROXY": "http://127.0.0.1:9"}
    # onnxruntime sends no telemetry where it sees a CI service; a user's computer is none.
    environment = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("XDG_")}
    environment |= {name: str(value) for name, value in own.items()}
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port), str(log)], env=environment, cwd=ROOT)
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_for(url, process)
        yield Server(url, process, log, temporary, home)
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        assert process.poll() is None, "the server ended before it began"
        try:
            direct.open(url, timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"{url} does not answer")


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that pop up on the page, in their order."""
    seen: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda text, **_: seen.append(text))
    monkeypatch.setattr(gr, "Info", seen.append)
    return seen
