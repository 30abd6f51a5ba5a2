"""What is stored stands under the key that the code makes today, so nothing is computed again."""

from pathlib import Path

from conftest import TEN
from vitrine.data.images import pixels_digest
from vitrine.experiments.base import task_key
from vitrine.experiments.evaluation import evaluation_tasks
from vitrine.experiments.lime_analysis import control_tasks, lime_tasks
from vitrine.experiments.maps import map_tasks
from vitrine.project import Project
from vitrine.store import Store
from vitrine.study import load_study


def test_a_key_is_made_of_all_that_a_result_depends_on() -> None:
    key = task_key("lime", {"seed": 0, "samples": 24}, "network", "image")
    assert key == "54105c3024a8b1f54546bed76573d9f252d7757b010dfc1d14258f07555c6291"
    others = [
        task_key("gradcam", {"seed": 0, "samples": 24}, "network", "image"),
        task_key("lime", {"seed": 1, "samples": 24}, "network", "image"),
        task_key("lime", {"seed": 0, "samples": 24}, "another", "image"),
        task_key("lime", {"seed": 0, "samples": 24}, "network", "another"),
    ]
    assert len({key, *others}) == 5


def test_the_committed_maps_and_measures_stand_under_todays_keys(root: Path, mirror: Path) -> None:
    project = Project(root)
    study, store = load_study(project, "embedded"), Store(project, "embedded")
    provenance = store.provenance()
    networks = {row["name"]: row["sha256"] for row in provenance["classifiers"]}
    images = {
        row["file"]: pixels_digest(mirror / TEN / row["file"]) for row in provenance["images"]
    }
    tasks = [
        task
        for made in (map_tasks, lime_tasks, control_tasks, evaluation_tasks)
        for task in made(study)
        if task.classifier in networks
    ]
    assert len(tasks) == len({task.name for task in tasks}) == 1074
    other = [
        task.name
        for task in tasks
        if store.task_key(task.name)
        != task_key(task.method, task.parameters, networks[task.classifier], images[task.file])
    ]
    assert other == []
