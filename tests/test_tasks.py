"""The front page's cards, what a study does otherwise than the assignment, and its tasks' pages."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from IPython.display import Markdown

from vitrine.book.study import book_text
from vitrine.errors import ResultsError
from vitrine.methods.dissection.encoders import ENCODERS
from vitrine.models.registry import CLASSIFIERS
from vitrine.project import Project
from vitrine.report import open_study, tasks
from vitrine.report.study_report import StudyReport


@pytest.fixture
def study(done: Project, root: Path, monkeypatch: pytest.MonkeyPatch) -> StudyReport:
    """The study ``tiny``: LIME and Grad-CAM on two images, beside the assignment's study file."""
    shutil.copytree(root / "data" / "studies" / "assignment", done.studies / "assignment")
    shutil.copy(root / "_quarto.yml", done.root)
    monkeypatch.setenv("VITRINE_PROJECT", str(done.root))
    monkeypatch.chdir(done.root)
    return open_study("tiny")


def _text(markdown: Markdown) -> str:
    return str(markdown.data).replace("\\", "")


def test_a_card_for_each_part_that_the_study_has(study: StudyReport) -> None:
    shown = _text(tasks.cards(study))
    assert re.findall(r'href="chapters/(.+?).html".*?<b>(.+?)</b><span>\w', shown) == [
        ("tasks/2", "LIME"),
        ("tasks/3", "Class activation maps"),
        ("tasks/4", "Comparison"),
    ]
    for file in re.findall(r'src="(.+?)"', shown):
        assert (study.store.project.root / file).is_file()
    assert "Attribution" not in shown and "believe" not in shown
    assert _text(tasks.lines(study)) == ""
    study.provenance["study"]["answers_assignment"] = False
    assert re.findall(r'href="(.+?)"', _text(tasks.cards(study))) == [
        f"chapters/{name}.html" for name in ("lime", "cam", "comparison")
    ]


def test_a_part_without_an_image_is_a_line(
    study: StudyReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "CARDS", [replace(card, image=None) for card in tasks.CARDS])
    assert _text(tasks.cards(study)) == ""
    assert re.findall(r"[*][*]\[(.+?)\]\((.+?)\)[.][*][*] \w", _text(tasks.lines(study))) == [
        ("LIME", "chapters/tasks/2.qmd"),
        ("Class activation maps", "chapters/tasks/3.qmd"),
        ("Comparison", "chapters/tasks/4.qmd"),
    ]


def test_what_differs_from_the_assignment_is_said_with_the_reason(study: StudyReport) -> None:
    said = _text(tasks.differences(study))
    assert "EfficientNet-Lite0, where the assignment has ResNet-50." in said
    assert "Why:** Two images, a random network." in said
    assert "make study STUDY=assignment" in said and "others than the ten" in said
    assert "CLIP" not in said  # it has no dissection
    encoder = {"name": "conse", "title": "ConSE", "about": "It knows names."}
    rows = [{"name": "resnet18", "title": "ResNet-18", "training_set": "ImageNet"}]
    study.dissection = {"classifiers": rows, "encoder": encoder}
    said = _text(tasks.differences(study))
    assert "dissected:** ResNet-18, where the assignment has ResNet-18, ResNet-18 Places365" in said
    assert "ConSE, not CLIP. It knows names." in said
    study.provenance["study"]["answers_assignment"] = False
    assert _text(tasks.differences(study)) == _text(study.about())


def test_what_the_assignment_names_is_called_as_in_the_registries() -> None:
    rows = CLASSIFIERS | ENCODERS
    assert {name: rows[name].title for name in tasks.TITLES} == tasks.TITLES


def test_what_was_run_and_where_its_code_is(study: StudyReport) -> None:
    assert "24 perturbed images each" in _text(tasks.ran(study, "lime"))
    assert "Grad-CAM of EfficientNet-Lite0" in _text(tasks.ran(study, "cam"))
    assert "20% of the frame, and in turn two shares" in _text(tasks.ran(study, "agreement"))
    named = "[`measures/agreement.py`]{.vitrine-module}"
    assert named in _text(tasks.code("measures/agreement.py"))
    with pytest.raises(ResultsError, match="no code/vitrine/gone.py"):
        tasks.code("gone.py")


def test_only_a_study_that_answers_the_assignment_has_its_tasks_pages(study: StudyReport) -> None:
    def kept() -> list[str]:
        text = book_text(study.store.project, "tiny")
        return re.findall(r"^ *- chapters/(tasks/\d|dissection|published)", text, re.M)

    assert kept() == ["tasks/2", "tasks/3", "tasks/4", "dissection", "published"]
    path = study.store.project.study_file("tiny")
    path.write_text("answers_assignment = false\n" + path.read_text())
    assert kept() == []
