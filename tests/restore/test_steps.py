"""A plan is read, written, told and carried out; `restore plan` and `restore auto` on a planner that is made here."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as PillowImage

from restore import store
from restore.contract import SPEC_KEY, ModelSpec, TensorInput
from restore.engine import Restored, open_model
from restore.errors import BadOption, UnsupportedModel
from restore.image import Image, read
from restore.planner import Planner
from restore.steps import Step, carry_out, describe, open_tools, parse

LABELS = ("end", "unwatermark", "denoise", "colorize")
GREY = Image(np.full((60, 60, 3), 120, np.uint8))
#: What the planner below takes for noise: sigma 22 is 0.0863.
SIGMA = 22 / 255


@pytest.fixture(scope="session")
def planner_file(tmp_path_factory) -> Path:
    """A planner that wants a bright view denoised (above 0.3) and then coloured (above 0.6), and ends a dark one."""
    tensors = (
        TensorInput(name="crops", shape=("N", 2, 3, 16, 16), min=0, max=1, default=0),
        TensorInput(name="thumbnail", shape=("N", 3, 8, 8), min=0, max=1, default=0),
        TensorInput(name="view", shape=("N", "V", 3, "H", "W"), min=0, max=1, default=0),
        TensorInput(name="levels", shape=("N", 2), min=0, max=1, default=0),
        TensorInput(name="variety", shape=("N",), min=0, max=2, default=0),
        TensorInput(name="taken", shape=("N", 3), min=0, max=4, default=4, dtype="int64"),
    )
    spec = ModelSpec(
        name="plan-fast", task="plan", answer="steps", reach=None, working_size=40, tensors=tensors, labels=LABELS
    )
    constants = {
        "pixels": np.array([1, 2, 3], np.int64),
        "every_crop": np.array([1, 2, 3, 4], np.int64),
        "row": np.array([1], np.int64),
        # Above what a step is wanted; for the last place none is.
        "least": np.array([[0.3, 0.6, 9]], np.float32),
        "step": np.array([[2, 3, 0]], np.int64),
        "end": np.array([[0]], np.int64),
        "open": np.array([[4]], np.int64),
        "half": np.float32(0.5),
        "unseen": np.float32(0),
        "deviation": np.full((1, 3), SIGMA, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["view", "every_crop"], ["of_view"], keepdims=0),
        helper.make_node("ReduceMean", ["thumbnail", "pixels"], ["of_thumbnail"], keepdims=0),
        helper.make_node("Add", ["of_view", "of_thumbnail"], ["both"]),
        helper.make_node("Mul", ["both", "half"], ["brightness"]),
        helper.make_node("Unsqueeze", ["brightness", "row"], ["bright"]),
        helper.make_node("Greater", ["bright", "least"], ["wanted"]),
        helper.make_node("Where", ["wanted", "step", "end"], ["own"]),
        helper.make_node("Equal", ["taken", "open"], ["free"]),
        helper.make_node("Where", ["free", "own", "taken"], ["steps"]),
        helper.make_node("ReduceMean", ["crops", "every_crop"], ["of_crops"], keepdims=0),
        helper.make_node("Unsqueeze", ["of_crops", "row"], ["cropped"]),
        helper.make_node("ReduceMean", ["levels", "row"], ["of_levels"], keepdims=1),
        helper.make_node("Add", ["cropped", "of_levels"], ["more"]),
        helper.make_node("Unsqueeze", ["variety", "row"], ["of_variety"]),
        helper.make_node("Add", ["more", "of_variety"], ["all"]),
        helper.make_node("Mul", ["all", "unseen"], ["nothing"]),
        helper.make_node("Add", ["nothing", "deviation"], ["sigma"]),
    ]
    inputs = [
        helper.make_tensor_value_info(
            tensor.name, TensorProto.INT64 if tensor.dtype == "int64" else TensorProto.FLOAT, list(tensor.shape)
        )
        for tensor in tensors
    ]
    outputs = [
        helper.make_tensor_value_info("steps", TensorProto.INT64, ["N", 3]),
        helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["N", 3]),
    ]
    initial = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "planner", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {SPEC_KEY: spec.to_json()})
    path = tmp_path_factory.mktemp("planner") / "plan-fast.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def planner(planner_file) -> Planner:
    return open_model(planner_file, kind=Planner, device="cpu", threads=1)


def flat(level: int) -> Image:
    """One level, but for two pixels: of a scan of two levels no planner takes the noise."""
    pixels = np.full((60, 60, 3), level, np.uint8)
    pixels[-1, :2] = [[level - 1], [level + 1]]
    return Image(pixels)


class Tools:
    """Tools that darken a picture by so many levels, and remember what they were told."""

    def __init__(self, **by: int) -> None:
        self.calls: list[tuple[str, dict[str, float]]] = []
        self.by = by

    def mapping(self):
        return {name: self._tool(name) for name in self.by}

    def _tool(self, name):
        def work(image, *, progress=None, **params):
            self.calls.append((name, params))
            if progress:
                progress(1.0)
            if not self.by[name]:
                return Restored(image, {})
            return Restored(image.with_pixels(image.pixels - np.uint8(self.by[name])), {"sigma": 0.1})

        return work


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("denoise", [Step("denoise")]),
        ("denoise:15,colorize", [Step("denoise", 15 / 255), Step("colorize")]),
        (" unwatermark , denoise:2.5 ", [Step("unwatermark"), Step("denoise", 2.5 / 255)]),
        ("", []),
    ],
)
def test_a_plan_is_read(text, steps):
    assert list(parse(text)) == steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sharpen", "no step is called 'sharpen'. There are: unwatermark, denoise, colorize."),
        ("colorize:3", "colorize takes no level; denoise:15 does."),
        ("denoise:much", "much is no level of noise."),
        ("denoise:-1", "-1 is no level of noise."),
        ("denoise:nan", "nan is no level of noise."),
        (",".join(["denoise"] * 9), "9 steps are too many."),
    ],
)
def test_a_plan_that_cannot_be_is_refused(text, message):
    with pytest.raises(BadOption, match="--plan") as refused:
        parse(text)
    assert message in str(refused.value)


def test_a_plan_is_told_in_words():
    steps = (Step("unwatermark"), Step("denoise", SIGMA), Step("colorize"))
    assert describe(steps) == "watermark; noise, sigma about 22; black and white"
    assert describe(()) == "nothing to mend"


def test_a_planner_of_another_version_is_refused_in_a_sentence(planner_file, tmp_path):
    model = onnx.load(planner_file)
    spec = json.loads(next(p.value for p in model.metadata_props if p.key == SPEC_KEY))
    spec["working_size"] = None
    helper.set_model_props(model, {SPEC_KEY: json.dumps(spec)})
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(UnsupportedModel, match="plan-fast is a planner of another version of Restore"):
        open_model(tmp_path / "old.onnx", kind=Planner, device="cpu")


def test_the_planner_decodes_until_it_ends(planner):
    # 0.2, 0.47 and 0.78 of white: nothing, noise, and colour after it.
    assert planner(flat(50)) == ()
    assert planner(flat(120)) == (("denoise", pytest.approx(SIGMA)),)
    assert [name for name, _ in planner(flat(200))] == ["denoise", "colorize"]


def test_a_plan_is_followed_and_looked_at_again(planner):
    tools = Tools(denoise=10, colorize=20)
    outcome = carry_out(flat(200), tools.mapping(), planner=planner)
    assert [name for name, _ in tools.calls] == ["denoise", "colorize"]
    # How strong the noise is, the denoiser finds itself.
    assert tools.calls[0][1] == {}
    assert outcome.image.pixels[0, 0, 0] == 170
    assert [step.name for step in outcome.taken] == ["denoise", "colorize"]


class LooksAgain:
    """A planner that wants all three, and what it planned only as long as the picture is bright."""

    def __call__(self, image):
        return ("denoise", SIGMA), ("unwatermark", None), ("colorize", None)

    def still_wants(self, image, before, step):
        assert (before, step) == (["denoise"], "unwatermark")
        return image.pixels.min() > 100


@pytest.mark.parametrize(
    ("darker", "taken"), [(10, ["denoise", "unwatermark", "colorize"]), (120, ["denoise", "colorize"])]
)
def test_a_step_is_left_out_where_the_picture_no_longer_wants_it_but_not_the_colour_behind_it(darker, taken):
    tools = Tools(denoise=darker, unwatermark=5, colorize=20)
    outcome = carry_out(flat(200), tools.mapping(), planner=LooksAgain())
    assert [name for name, _ in tools.calls] == taken
    assert [step.name for step in outcome.planned] == ["denoise", "unwatermark", "colorize"]
    assert [step.name for step in outcome.taken] == taken


def test_colour_stays_due_whatever_the_picture_looks_like_behind_the_first_step(planner):
    # Darkened from 0.78 to 0.39, where this planner would not ask for colour.
    tools = Tools(denoise=100, colorize=20)
    carry_out(flat(200), tools.mapping(), planner=planner)
    assert [name for name, _ in tools.calls] == ["denoise", "colorize"]


def test_a_clean_photo_comes_back_as_the_same_object(planner):
    photo = flat(50)
    tools = Tools(denoise=10)
    assert carry_out(photo, tools.mapping(), planner=planner).image is photo
    assert tools.calls == []


def test_a_users_plan_is_done_as_told(planner):
    tools = Tools(denoise=10, colorize=20)
    outcome = carry_out(flat(50), tools.mapping(), steps=parse("colorize,denoise:15"), planner=None)
    assert tools.calls == [("colorize", {}), ("denoise", {"sigma": 15 / 255})]
    assert outcome.image.pixels[0, 0, 0] == 20


def test_a_step_without_a_model_is_left_out(planner):
    tools = Tools(denoise=10)
    outcome = carry_out(flat(200), tools.mapping(), planner=planner)
    assert outcome.left_out == ("colorize",)
    assert [step.name for step in outcome.taken] == ["denoise"]


def test_a_tool_that_finds_nothing_to_do_is_no_step_taken(planner):
    photo = flat(120)
    outcome = carry_out(photo, Tools(denoise=0).mapping(), planner=planner)
    assert outcome.taken == ()
    assert outcome.image is photo


def test_progress_ends_at_one_and_never_falls(planner):
    seen: list[float] = []
    carry_out(flat(200), Tools(denoise=1, colorize=1).mapping(), planner=planner, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.fixture
def desk(run, tmp_path, planner_file):
    for name, level in (("clean", 50), ("noisy", 120), ("old", 200)):
        PillowImage.fromarray(flat(level).pixels).save(tmp_path / f"{name}.png")
    return lambda command, *words: run(command, *words, "--model", str(planner_file))


def timeless(text: str) -> list[str]:
    """The lines, without how long something took."""
    return re.sub(r"\d+\.\d s$", "# s", text, flags=re.MULTILINE).splitlines()


def test_plan_prints_what_a_photo_needs(desk):
    assert desk("plan", "noisy.png").stdout == "noise, sigma about 22\n"
    assert desk("plan", "old.png", "--json").stdout == (
        '{"source": "old.png", "steps": [{"step": "denoise", "sigma": 22.0}, {"step": "colorize"}]}\n'
    )
    assert desk("plan", "clean.png", "--json").stdout == '{"source": "clean.png", "steps": []}\n'


def test_plan_names_the_files_where_there_are_several(desk, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    result = desk("plan", "clean.png", "text.png", "noisy.png")
    assert result.exit_code == 1
    assert result.stdout == "clean.png: nothing to mend\nnoisy.png: noise, sigma about 22\n"
    assert result.stderr.startswith("Error: text.png: not a picture")
    assert result.stderr.endswith("\n2 looked at, 1 failed\nFailed:\n  text.png\n")


def test_auto_says_what_it_saw_and_leaves_a_clean_photo_alone(desk, tmp_path):
    result = desk("auto", "clean.png", "-o", "out.png")
    assert result.exit_code == 0, result.stderr
    assert timeless(result.stderr) == ["clean.png: nothing to mend -> out.png, # s"]
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "clean.png").read_bytes()


def test_auto_does_what_is_needed_with_what_is_installed(desk, smoother, tmp_path):
    noisy = np.random.default_rng(0).normal(200, 25, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    PillowImage.fromarray(noisy).save(tmp_path / "noisy.png")
    result = desk("auto", "noisy.png", "-o", "out.png")
    assert timeless(result.stderr) == [
        # The level that the denoiser found; 22 was planned.
        "noisy.png: noise, sigma about 24; black and white -> out.png, # s",
        "  colorize was left out: no model for it is installed",
    ]
    denoise = open_model(smoother / "denoise-fast.onnx", device="cpu")
    np.testing.assert_array_equal(read(tmp_path / "out.png").pixels, denoise(Image(noisy)).image.pixels)


def test_commands_look_as_often_as_they_are_told(run, tiny_denoiser, make_photo, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    shutil.copy(tiny_denoiser, tmp_path / "models" / "denoise-fast.onnx")
    store.publish(tmp_path / "models", "denoise-fast", task="denoise", tier="fast", about={})
    monkeypatch.setenv("RESTORE_MODELS", str(tmp_path / "models"))
    pixels = make_photo(40, 56)
    PillowImage.fromarray(pixels).save(tmp_path / "photo.png")
    denoise = open_model(tiny_denoiser, device="cpu")
    often = denoise(Image(pixels), sigma=0.1, self_ensemble=4).image.pixels
    assert not np.array_equal(often, denoise(Image(pixels), sigma=0.1).image.pixels)
    for words in (["auto", "--plan", "denoise:25.5"], ["denoise", "--sigma", "25.5"]):
        done = run(*words, "photo.png", "-o", f"{words[0]}.png", "--self-ensemble", "4")
        assert done.exit_code == 0, done.stderr
        np.testing.assert_array_equal(read(tmp_path / f"{words[0]}.png").pixels, often)
        refused = run(*words, "photo.png", "-o", "no.png", "--self-ensemble", "3")
        assert refused.exit_code == 2
        assert refused.stderr == "Error: --self-ensemble 3: use 1, 2, 4 or 8.\n"


def test_a_step_is_taken_with_the_model_that_is_named_for_it(smoother, tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_MODELS", str(smoother))
    named = tmp_path / "other.onnx"
    named.write_bytes((smoother / "denoise-fast.onnx").read_bytes())
    opened = []

    def opening(name, **options):
        opened.append(name)
        return open_model(name, **options)

    monkeypatch.setattr("restore.steps.open_model", opening)
    open_tools(device="cpu")["denoise"](flat(100))
    open_tools(device="cpu", models={"denoise": str(named)})["denoise"](flat(100))
    assert opened == ["denoise", str(named)]


def test_auto_goes_on_after_a_failure_and_where_it_stopped(desk, planner_file, tmp_path, monkeypatch):
    def short(image, **_):
        raise MemoryError

    monkeypatch.setattr("restore.steps.open_tools", lambda **_: {"denoise": short})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.png").write_text("mine")
    result = desk("auto", ".", "-o", "out", "--skip-existing")
    assert result.exit_code == 1
    assert timeless(result.stderr) == [
        "clean.png: nothing to mend -> out/clean.png, # s",
        "Error: noisy.png: not enough memory for it. Close other programs.",
        "1 unchanged, 1 skipped, 1 failed",
        "Failed:",
        "  noisy.png",
    ]
    assert (tmp_path / "out" / "old.png").read_text() == "mine"
    again = desk("auto", ".", "-o", "out", "--skip-existing", "--json").stdout.splitlines()
    assert [json.loads(line)["status"] for line in again] == ["skipped", "failed", "skipped"]


def test_where_the_picture_goes_nothing_else_does(run, desk):
    result = run("auto", "-", "--plan", "denoise", "--json", stdin=b"no picture")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert json.loads(result.stderr)["error"].startswith("standard input: not a picture")


def test_rows_of_files_that_were_skipped_or_failed_have_the_same_keys(run, smoother, tmp_path):
    PillowImage.fromarray(np.random.default_rng(0).integers(90, 160, (40, 40, 3), np.uint8)).save(tmp_path / "a.png")
    PillowImage.new("RGB", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("no picture")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b.png").write_text("mine")
    result = run("auto", "a.png", "b.png", "c.png", "-o", "out", "--plan", "denoise", "--skip-existing", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["status"] for row in rows] == ["done", "skipped", "failed"]
    assert [Path(row["output"]).as_posix() for row in rows] == ["out/a.png", "out/b.png", "out/c.png"]
    assert len({tuple(row) for row in rows}) == 1


def test_two_steps_of_one_kind_are_told_with_their_own_levels(run, smoother, tmp_path):
    noisy = np.random.default_rng(0).normal(120, 25, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    PillowImage.fromarray(noisy).save(tmp_path / "noisy.png")
    result = run("auto", "noisy.png", "-o", "out.png", "--plan", "denoise:30,denoise:5")
    assert "noise, sigma about 30; noise, sigma about 5 -> out.png" in result.stderr


def test_a_mark_that_a_user_names_need_not_be_sure(tmp_path, monkeypatch):
    asked: list[dict[str, float]] = []

    class Remover:
        spec = SimpleNamespace(params=[SimpleNamespace(name="certainty")])

        def __call__(self, image: Image, **options: Any) -> Restored:
            asked.append(options)
            return Restored(image, {"marked": 0.0})

    monkeypatch.setattr("restore.steps.open_model", lambda *_, **__: Remover())
    monkeypatch.setattr("restore.steps.store.entries", lambda: [SimpleNamespace(task="unwatermark")])
    for known in (False, True):
        open_tools(marks_are_known=known)["unwatermark"](Image(np.zeros((4, 4, 3), np.uint8)))
    assert [options.get("certainty") for options in asked] == [None, 0.0]


def test_a_plan_of_the_users_needs_no_planner(run, smoother, tmp_path):
    noisy = np.random.default_rng(0).normal(120, 25, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    PillowImage.fromarray(noisy).save(tmp_path / "noisy.png")
    result = run("auto", "noisy.png", "-o", "out.png", "--plan", "denoise:15", "--json")
    row = json.loads(result.stdout)
    assert (row["status"], row["planned"]) == ("done", [{"step": "denoise", "sigma": 15.0}])
    denoise = open_model(smoother / "denoise-fast.onnx", device="cpu")
    expected = denoise(Image(noisy), sigma=15 / 255).image.pixels
    np.testing.assert_array_equal(read(tmp_path / "out.png").pixels, expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["auto", "clean.png", "--plan", ""],
            "Error: --plan is empty. Name a step, denoise for example, or leave it out.",
        ),
        (["auto", "clean.png", "--plan", "sharpen"], "Error: --plan sharpen: no step is called 'sharpen'."),
        (["auto", "clean.png", "--plan", "colorize"], "Error: --plan: no model for colorize is installed."),
        (["auto", "clean.png", "--plan", "denoise:300"], "Error: --plan: --sigma 300 is above 75, the strongest noise"),
        (
            ["auto", "clean.png", "--plan", "denoise", "--quality", "best"],
            "Error: --quality best: no weights for it are",
        ),
        (["auto", "clean.png"], 'Error: no planner is installed here. Say the steps yourself: --plan "unwatermark,'),
        (["plan", "gone.png"], "Error: gone.png: no such file or folder."),
        (["plan", "clean.png", "--model", "denoise"], "denoise-fast is for the task denoise: it answers with image."),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(run, desk, words, message):
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr
