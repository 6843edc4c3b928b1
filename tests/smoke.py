"""Builds the wheel, installs it alone in a fresh environment, and restores a photo with the network cut.

    python tests/smoke.py

Prints what it did and exits with 1 when anything failed. The wheel must be under 52 MB: the weights take most of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
WHEEL_LIMIT = 52_000_000

#: Runs first in each Python of the fresh environment: any attempt to reach the network fails.
CUT_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError("the network is cut")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


def run(*command: str | Path, **kwargs: object) -> str:
    """The command's output; a failure ends the script with its errors."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **kwargs)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"smoke: {' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def main() -> None:
    """Build, install, restore."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
        (wheel,) = folder.glob("*.whl")
        size = wheel.stat().st_size
        if size >= WHEEL_LIMIT:
            sys.exit(f"smoke: the wheel has {size:,} bytes; the limit is {WHEEL_LIMIT:,}")
        venv.create(folder / "venv", with_pip=True)
        scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        python = scripts / "python"
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
        site = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip()
        Path(site, "sitecustomize.py").write_text(CUT_NETWORK, encoding="utf-8")
        packages = set(run(python, "-m", "pip", "list", "--format", "freeze").lower().split())
        for heavy in ("torch", "onnx", "gradio", "fastapi"):
            if any(p.startswith(f"{heavy}==") for p in packages):
                sys.exit(f"smoke: the wheel brought {heavy}")
        source = ROOT / "docs" / "samples" / "lighthouse.jpg"
        run(scripts / "restore", "denoise", source, "-o", folder / "clean.png", cwd=folder)
        compare = (
            "import sys, restore; from pathlib import Path; "
            "a, b = (restore.read(Path(p)).pixels.astype(int) for p in sys.argv[1:]); "
            "assert a.shape == b.shape; print(f'{abs(a - b).mean():.2f}')"
        )
        change = float(run(python, "-c", compare, source, folder / "clean.png", cwd=folder))
        if not 1 < change < 40:
            sys.exit(f"smoke: the restored photo differs by {change} levels on average, which is not denoising")
        run(scripts / "restore", "doctor", cwd=folder)
        print(f"smoke: wheel of {size / 1e6:.1f} MB restored a photo offline (mean change {change} levels of 255)")


if __name__ == "__main__":
    main()
