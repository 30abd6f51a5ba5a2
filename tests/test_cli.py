"""The command line does what it says, and bad input ends in one clear message."""

import subprocess
import sys
from pathlib import Path

import pytest

from bookmaker import Book
from conftest import change_study, vitrine
from vitrine import cli
from vitrine.book.manifest import Manifest
from vitrine.project import Project


def _fails(result: subprocess.CompletedProcess[str], said: str) -> None:
    assert result.returncode == 1, result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_study_is_fetched_run_and_then_there_is_nothing_to_do(tiny: Project) -> None:
    fetched = vitrine(tiny.root, "fetch", "--study", "tiny")
    assert fetched.returncode == 0, fetched.stderr
    first = vitrine(tiny.root, "run", "--study", "tiny")
    assert first.returncode == 0, first.stderr
    assert "computed 8 steps" in first.stdout
    assert "lime · red square" in first.stderr
    second = vitrine(tiny.root, "run", "--study", "tiny")
    assert "nothing to do: all 8 steps" in second.stdout


def test_a_missing_image_is_one_message(tiny: Project) -> None:
    (tiny.root / "images" / "n00000002_noise.png").unlink()
    for command in ("fetch", "run"):
        _fails(vitrine(tiny.root, command, "-s", "tiny"), "n00000002_noise.png does not exist")


def test_no_network_and_no_mirror_is_one_message(tiny: Project) -> None:
    path = tiny.data / "sources.toml"
    path.write_text(
        path.read_text().replace("https://raw.githubusercontent.com", "http://127.0.0.1:9")
    )
    change_study(tiny, 'folder = "images"', 'source = "imagenet-sample-images"')
    both = '"n00000001_red_square.png", "n00000002_noise.png"'
    change_study(tiny, both, '"n02007558_flamingo.JPEG"')
    failed = vitrine(tiny.root, "fetch", "-s", "tiny")
    _fails(failed, "cannot be downloaded")
    assert "set VITRINE_MIRROR" in failed.stderr


def test_a_relative_mirror_is_meant_from_where_it_was_typed(tiny: Project) -> None:
    found = vitrine(tiny.root / "images", "doctor", VITRINE_MIRROR="../images")
    assert f"Mirror: {tiny.root / 'images'}" in found.stdout


def test_outside_a_project_it_says_where_to_go(tmp_path: Path) -> None:
    _fails(vitrine(tmp_path, "run"), "is not inside a vitrine project")
    (tmp_path / "_quarto.yml").write_text("project:\n  type: website\n")
    _fails(vitrine(tmp_path, "doctor"), "holds both _quarto.yml and data/studies")


def test_another_quarto_project_inside_is_not_taken_for_this_one(tiny: Project) -> None:
    inner = tiny.root / "images" / "slides"
    inner.mkdir()
    (inner / "_quarto.yml").write_text("project:\n  type: website\n")
    assert Project.find(inner) == tiny
    _fails(vitrine(inner, "run", "-s", "x"), "The studies are tiny")


def test_outside_a_terminal_a_long_message_is_one_line(tiny: Project) -> None:
    name = "embedded-" * 20
    failed = vitrine(tiny.root, "run", "--study", name, COLUMNS="80")
    assert failed.stderr.splitlines() == [
        f"error: There is no study {name!r}",
        "→ The studies are tiny",
    ]


def test_a_stale_freeze_is_rendered_with_a_warning_that_names_the_chapters(tmp_path: Path) -> None:
    book = Book.at(tmp_path)
    book.chapter("one", "# One\n\n```{python}\n1\n```\n")
    book.freeze("one", "# One\n\nIt is 1.\n")
    (tmp_path / "data" / "studies").mkdir(parents=True)
    Manifest().write(book.project)
    rendered = vitrine(tmp_path, "render", "--renderer", "bundled", "--to", "html")
    assert rendered.returncode == 0, rendered.stderr
    assert "rendered by bundled" in rendered.stdout
    assert "warning: the freeze is not current, so this is old: chapters/one.qmd" in rendered.stderr
    assert "→ Run `vitrine freeze` and render again" in rendered.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 36.4 TiB for an array"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 36 bytes"),
    ],
)
def test_a_full_memory_is_one_message(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise error

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1 and str(error).split(":")[0] in said and "smaller batch" in said
    monkeypatch.setattr(cli, "_out_of_memory", lambda _: False)
    with pytest.raises(type(error)):
        cli.main()


def test_an_option_that_does_not_exist_is_refused(tiny: Project) -> None:
    for arguments in (["run", "--device", "tpu"], ["render", "--renderer", "word"], ["dance"]):
        result = vitrine(tiny.root, *arguments)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr


def test_the_doctor_names_what_is_wrong_and_what_to_do(tiny: Project) -> None:
    (tiny.root / "_quarto.yml").write_text("project:\n  type: book\nbook:\n  chapters: []\n")
    found = vitrine(tiny.root, "doctor")
    assert "· Study tiny: The study 'tiny' has not been run here" in found.stdout
    assert "→ Run `vitrine run --study tiny`" in found.stdout
    assert "✓ Site packages: altair" in found.stdout and "✓ Device" in found.stdout
    assert "✓ Study packages: captum" in found.stdout and "✓ Pandoc" in found.stdout
    assert "Traceback" not in found.stderr
    assert "✓ Study tiny, files: all there and intact" in found.stdout
    for name in ("n00000001_red_square.png", "n00000002_noise.png"):
        (tiny.root / "images" / name).unlink()
    study = tiny.study_file("tiny")
    study.write_text(
        study.read_text()
        + '[dissection]\nclassifiers = [{ name = "resnet18" }]\nconcepts = "3k"\n'
        + '[dissection.images]\nsource = "imagenet-sample-images"\n'
    )
    blocked = tiny.root / "blocked"
    blocked.write_text("a file where the folder should be")
    found = vitrine(tiny.root, "doctor", VITRINE_CACHE=str(blocked))
    said = next(line for line in found.stdout.splitlines() if "Study tiny, files" in line)
    assert said.startswith("· ")
    for missing in (
        "n00000001_red_square.png does not exist",
        "n00000002_noise.png does not exist",
        "resnet18-f37072fd.pth of torchvision",
        "all 1,000 files of imagenet-sample-images",
        "3k.txt of clip-dissect",
    ):
        assert missing in said
    assert "Run `vitrine fetch --study tiny`" in found.stdout
    assert f"✗ Cache: {blocked} is not a folder" in found.stdout
    study.write_text("title = 1")
    broken = vitrine(tiny.root, "doctor")
    assert broken.returncode == 1
    assert "✗ Study tiny" in broken.stdout


def test_building_the_site_imports_no_torch(root: Path) -> None:
    code = (
        "import sys, vitrine.cli, vitrine.book.render, vitrine.book.freeze, vitrine.report.charts,"
        " vitrine.report.figures, vitrine.report.provenance\n"
        "assert not {'torch', 'torchvision', 'timm', 'lime', 'pytorch_grad_cam'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


ASKING = """
import runpy, sys
own = list(sys.path)
for script in sys.argv[1:]:
    sys.path, sys.argv = [script.rpartition("/")[0], *own], [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, script
"""
"""Every script starts as it would by itself, but torch is imported once."""


def test_the_benches_start(root: Path) -> None:
    names = ["cam", "lime_images", "dissection", "runtimes", "study", "workers"]
    scripts = [(root / "bench" / f"{name}.py").as_posix() for name in names]
    command = [sys.executable, "-c", ASKING, *scripts]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    helps = told.stdout.split("usage: ")[1:]
    assert [text.split(".py")[0] for text in helps] == names
    assert all("--save" in text for text in helps)
