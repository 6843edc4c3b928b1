"""What the README says is what is there and what CI runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_ci_finds_the_test_command_in_the_readme():
    marker = re.search(r"grep -m1 '\^(.*)' README\.md", (ROOT / ".ci/run").read_text("utf-8"))
    assert marker
    start = marker[1].replace("\\", "")
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith(start)]
    assert lines == [start + "python -m pytest"]


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    shutil.copy(ROOT / "docs/samples/lighthouse.jpg", tmp_path / "night.jpg")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "clean.jpg").stat().st_size > 0
    assert capsys.readouterr().out.startswith("sigma about ")


def test_every_file_that_the_readme_names_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_pictures_stay_under_six_megabytes():
    pictures = [p for p in (ROOT / "docs").rglob("*") if p.suffix in {".webp", ".png", ".jpg"}]
    assert sum(p.stat().st_size for p in pictures) < 6_000_000
