"""ARCHITECTURE's table of who may import whom, and what a plain import must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STDLIB = sys.stdlib_module_names

#: Third-party packages for a whole package, and beyond that for single modules and sub-packages.
THIRD_PARTY = {
    "restore": {"numpy", "PIL"},
    "models": {"torch"},
    "training": {"torch", "numpy", "PIL"},
}
EXTRA = {
    "restore/formats/deep.py": {"imagecodecs"},
    "restore/formats/tiff.py": {"tifffile"},
    "restore/session.py": {"onnxruntime"},
    "restore/cli": {"typer"},
    "restore/screen.py": {"typer", "rich"},
    "restore/web": {"gradio"},
    "training/loop.py": {"rich"},
    "training/__main__.py": {"rich"},
    "training/colorize_eval.py": {"rich"},
    "training/evaluate.py": {"rich"},
    "training/denoise_methods.py": {"cv2", "bm3d", "rich"},
    "training/levels_eval.py": {"skimage"},
    "training/unwatermark_eval.py": {"cv2", "rich"},
    "training/bench.py": {"onnx", "onnxruntime"},
    "training/export.py": {"onnx"},
    "training/graphs.py": {"onnx"},
    "training/layer_list.py": {"onnx", "onnxruntime"},
    "training/tracking.py": {"rich"},
    "training/weights.py": {"onnx"},
    "training/compare.py": {"matplotlib"},
}
#: Our own packages and modules that each may name.
OWN = {
    "restore": {"restore"},
    "models": {"models"},
    "training": {
        "training",
        "models",
        *(
            f"restore.{module}"
            for module in (
                *("chroma", "classifier", "color", "colorizer", "contract", "digits", "engine", "ensemble", "errors"),
                *(
                    "image",
                    "layers",
                    "look",
                    "model",
                    "monochrome",
                    "planner",
                    "reproduce",
                    "session",
                    "steps",
                    "store",
                ),
            )
        ),
    },
}
#: Inside restore, a module may import only from the layers before its own.
LAYERS = (
    {"errors"},
    {"formats"},
    {"image", "contract", "tiles", "store", "color", "layers", "digits"},
    {"small", "chroma", "monochrome", "session", "look"},
    {"model", "ensemble"},
    {"classifier", "planner"},
    {"engine"},
    {"colorizer"},
    {"jobs", "previews", "reproduce", "steps"},
    {"batch", "masks"},
    {"web", "screen", "doctor"},
    {"cli"},
    {"__main__", "__init__"},
)

FILES = sorted(p.relative_to(ROOT).as_posix() for name in THIRD_PARTY for p in (ROOT / name).rglob("*.py"))


def imported(path: str) -> set[str]:
    """Dotted names of all that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from restore import store` names a module, `from restore.errors import X` lies in one.
            own_package = node.module in THIRD_PARTY
            found |= {f"{node.module}.{alias.name}" if own_package else str(node.module) for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES)
def test_a_file_imports_only_what_its_package_may(path):
    package = path.split("/")[0]
    allowed = THIRD_PARTY[package] | EXTRA.get(path, set()) | EXTRA.get(str(Path(path).parent), set())
    if package == "training":
        allowed = allowed | {"torchvision"}
    for name in imported(path):
        top = name.split(".")[0]
        if top in THIRD_PARTY:
            assert top in OWN[package] or ".".join(name.split(".")[:2]) in OWN[package], f"{path} imports {name}"
        else:
            assert top in STDLIB or top in allowed, f"{path} imports {name}"


@pytest.mark.parametrize("path", [p for p in FILES if p.startswith("training/")])
def test_torchvision_waits_inside_functions(path):
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    at_top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not [n for n in at_top if "torchvision" in ast.unparse(n)]


@pytest.mark.parametrize("path", [p for p in FILES if p.startswith("restore/")])
def test_imports_inside_restore_point_one_way(path):
    order = {module: level for level, layer in enumerate(LAYERS) for module in layer}
    own = path.split("/")[1].removesuffix(".py")
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "restore" and len(parts) > 1 and parts[1] in order:
            assert order[parts[1]] < order[own] or own == parts[1], f"{path} imports {name}"


def test_no_two_modules_import_each_other():
    """Nor round a corner, nor inside a function: a cycle is two modules that are one, or a third that is missing."""
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}
    needs = {module: (imported(path) & modules.keys()) - {module} for module, path in modules.items()}
    for _ in modules:
        # What only needs modules that stand firm stands firm.
        needs = {module: named & needs.keys() for module, named in needs.items() if named & needs.keys()}
    assert not needs


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import restore", "torch onnx onnxruntime gradio fastapi ray numpy PIL"),
        ("import runpy, sys; sys.argv = ['restore', '--help']; runpy.run_module('restore', run_name='__main__')",
         "torch onnx onnxruntime gradio fastapi ray numpy PIL"),
        ("import restore; restore.open_model; restore.read", "torch onnx gradio fastapi ray models training"),
    ],
)  # fmt: skip
def test_a_plain_start_loads_nothing_heavy(code, forbidden):
    program = f"import atexit, sys; atexit.register(lambda: print('LOADED', *sys.modules)); {code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split("LOADED ")[1].split())
    assert not loaded & set(forbidden.split())
