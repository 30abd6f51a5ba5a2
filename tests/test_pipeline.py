"""A study is computed once, goes on where it was stopped, and computes again only what changed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import change_study, contents, counting
from vitrine.data.images import read_image
from vitrine.doctor import examine
from vitrine.errors import ImageError, ResultsError, Unwritten
from vitrine.experiments import run as pipeline
from vitrine.experiments.base import Progress
from vitrine.experiments.run import Summary, run
from vitrine.models import engine
from vitrine.models.registry import load_classifier
from vitrine.project import Project
from vitrine.store import Store, TaskResult
from vitrine.study import Study, load_study

EXPLAINED = ("predictions", "maps", "costs", "lime", "superpixels", "fidelity")
FIRST = "efficientnet_lite0/lime/n00000001_red_square.png"


def _study(project: Project) -> Study:
    return load_study(project, "tiny")


def _content(project: Project) -> dict[str, bytes]:
    return contents(project.results / "tiny")


def test_a_run_writes_every_table_and_a_second_run_does_nothing(tiny: Project) -> None:
    told, planned, passes = counting()
    assert run(tiny, _study(tiny), progress=told) == Summary(computed=8, kept=0)
    assert planned == [(2 * (1 + 1 + 24 + 41), 8, 0)]
    assert sum(passes) == planned[0][0]
    store = Store(tiny, "tiny")
    assert set(store.tables()) > {*EXPLAINED, "agreement"}
    for name in EXPLAINED:
        table = store.table(name)
        assert len(table) > 0
        assert set(table["image"]) == {"red square", "noise"}
    before = _content(tiny)
    assert run(tiny, _study(tiny)) == Summary(computed=0, kept=8)
    assert _content(tiny) == before


def test_the_tables_say_what_the_maps_hold(done: Project) -> None:
    store = Store(done, "tiny")
    predictions = store.table("predictions")
    assert (predictions.groupby("image")["rank"].max() == 5).all()
    assert predictions["probability"].between(0, 1).all()
    local = store.table("lime")  # 24 samples are fewer than there are superpixels
    assert local[["r_squared", "local_prediction"]].isna().all(axis=None)
    assert local["reason"].str.contains("24 samples cannot tell").all()
    weights = store.table("superpixels")
    assert np.allclose(weights.groupby("image")["share"].sum(), 1)
    for _, row in store.table("maps").iterrows():
        heatmap = store.heatmap(row["classifier"], row["method"], row["image"])
        assert heatmap.values.max() == pytest.approx(row["scaled_maximum"], rel=1e-6)
        assert heatmap.frame == store.frame(row["classifier"], row["image"])
        best = predictions[(predictions["image"] == row["image"]) & (predictions["rank"] == 1)]
        assert row["target"] == best["target"].item()
    agreement = store.table("agreement")
    assert len(agreement) == 2 * 2
    assert agreement["iou"].between(0, 1).all()


def test_a_stopped_run_goes_on_where_it_was(tiny: Project) -> None:
    seen: list[str] = []

    def stop(name: str) -> None:
        seen.append(name)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny, _study(tiny), progress=Progress(step=stop))
    store = Store(tiny, "tiny")
    assert not store.is_finished()
    with pytest.raises(ResultsError, match="is not finished. Run `vitrine run --study tiny`"):
        store.table("lime")
    assert run(tiny, _study(tiny)) == Summary(computed=5, kept=3)


def test_only_what_changed_is_computed_again(done: Project) -> None:
    change_study(done, "samples = 24", "samples = 32")
    assert run(done, _study(done)) == Summary(computed=4, kept=4)
    change_study(done, 'weights = "random"', 'weights = "random", seed = 1')
    assert run(done, _study(done)) == Summary(computed=8, kept=0)
    change_study(done, "bootstrap = 100", "bootstrap = 200")
    assert run(done, _study(done)) == Summary(computed=0, kept=8)
    assert Store(done, "tiny").provenance()["study"]["agreement"]["bootstrap"] == 200


def test_a_changed_image_is_computed_again(done: Project) -> None:
    red, noise = sorted((done.root / "images").iterdir())
    red.write_bytes(noise.read_bytes())
    assert run(done, _study(done)) == Summary(computed=4, kept=4)


def test_a_damaged_result_of_a_stopped_run_is_computed_again(done: Project) -> None:
    Store(done, "tiny").reopen()
    path = done.results / "tiny" / "tasks" / f"{FIRST}.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ResultsError, match="is damaged"):
        Store(done, "tiny").read_task(FIRST)
    assert run(done, _study(done)) == Summary(computed=1, kept=7)


def test_a_full_memory_is_no_damage_of_what_is_read(
    done: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise MemoryError

    store = Store(done, "tiny")
    monkeypatch.setattr("vitrine.store.pd.read_csv", fill)
    monkeypatch.setattr("vitrine.store.np.load", fill)
    for read in (lambda: store.table("lime"), lambda: store.task_key(FIRST)):
        with pytest.raises(MemoryError):
            read()


@pytest.mark.parametrize(
    ("file", "spoil", "computed"),
    [
        ("agreement.csv", lambda content: b"".join(content.splitlines(True)[:3]), 0),
        ("maps.csv", lambda content: content.replace(b"noise", b"other"), 0),
        (f"tasks/{FIRST}.npz", lambda content: content + b"extra", 1),
    ],
)
def test_what_was_changed_by_hand_is_named_and_made_again(
    done: Project, file: str, spoil: Callable[[bytes], bytes], computed: int
) -> None:
    before, path = _content(done), done.results / "tiny" / file
    path.write_bytes(spoil(path.read_bytes()))
    store = Store(done, "tiny")
    with pytest.raises(ResultsError, match=f"{file} is not as `vitrine run` wrote it"):
        store.read_task(FIRST) if computed else store.table(path.stem)
    said = [row for row in examine(done) if row.subject == "Study tiny"]
    assert said[0].state == "bad" and file in said[0].text
    assert run(done, _study(done)) == Summary(computed, 8 - computed, (file,))
    after = _content(done)
    if not computed:
        assert after == before
    assert run(done, _study(done)) == Summary(0, 8) and _content(done) == after


def test_line_ends_of_another_checkout_are_nochange_study(done: Project) -> None:
    path = done.results / "tiny" / "maps.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(Store(done, "tiny").table("maps")) == 4
    assert run(done, _study(done)) == Summary(0, 8)


def test_images_that_left_the_study_leave_the_store(done: Project) -> None:
    change_study(done, ', "n00000002_noise.png"', "")
    run(done, _study(done))
    assert not list((done.results / "tiny").rglob("*noise*"))
    assert set(Store(done, "tiny").table("lime")["image"]) == {"red square"}


def test_results_tell_the_engine_that_ran_and_not_the_one_asked_for(
    tiny: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "installed", lambda: False)
    change_study(tiny, "[speed]", '[speed]\nengine = "openvino"')
    with pytest.warns(UserWarning, match="runs on PyTorch: OpenVINO is not installed"):
        run(tiny, _study(tiny))
    told = Store(tiny, "tiny").provenance()["passes"]
    assert told and all("engine" not in settings for settings in told.values())


def test_a_damaged_image_stops_the_run_and_keeps_what_was_computed(done: Project) -> None:
    before = _content(done)
    (done.root / "images" / "n00000002_noise.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="is not an image"):
        run(done, _study(done))
    assert _content(done) == before


def test_two_images_of_one_name_are_told_apart(tiny: Project) -> None:
    noise = tiny.root / "images" / "n00000002_noise.png"
    noise.rename(noise.with_name("n00000003_red_square.png"))
    change_study(tiny, "n00000002_noise.png", "n00000003_red_square.png")
    run(tiny, _study(tiny))
    assert {row["name"] for row in Store(tiny, "tiny").provenance()["images"]} == {
        "n00000001_red_square.png",
        "n00000003_red_square.png",
    }


def test_an_unwritable_store_is_named_and_leaves_no_temporary_files(tiny: Project) -> None:
    tiny.results.mkdir()
    (tiny.results / "tiny").write_text("a file where the folder should be")
    with pytest.raises(Unwritten, match="data/results/tiny/.* cannot be written"):
        run(tiny, _study(tiny))
    assert not list(tiny.results.rglob("*.tmp"))


def test_results_that_cannot_be_removed_are_named_and_nothing_is_lost(
    tiny: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tiny, "tiny")
    for name in ("a/predictions/x.png", "a/predictions/y.png"):
        store.write_task(name, "key", TaskResult({"values": np.zeros(2)}, {}))
    before = _content(tiny)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    for drop in (lambda: store.drop_other_tasks({"a/predictions/x.png"}), store.reopen):
        with pytest.raises(Unwritten, match=r"cannot be written \(Permission denied\)"):
            drop()
    assert _content(tiny) == before


def test_provenance_says_from_what_and_with_what(done: Project) -> None:
    provenance = Store(done, "tiny").provenance()
    assert provenance["study"] == json.loads(json.dumps(_study(done).model_dump(mode="json")))
    assert set(pipeline.reported_packages()) == set(provenance["packages"])
    assert all(len(row["sha256"]) == 64 for row in provenance["images"])
    assert provenance["classifiers"][0]["training_set"] == "none (random weights)"
    assert str(Path.home()) not in json.dumps(provenance)


def test_what_a_run_needs_is_fetched_before(
    tiny: Project, mirrored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_study(tiny, "efficientnet_lite0", "resnet18_places365")
    pipeline.fetch(tiny, _study(tiny))
    monkeypatch.setenv("VITRINE_MIRROR", str(tiny.root / "images"))  # which holds no file of it
    network = load_classifier(tiny, "resnet18_places365", "random")
    assert len(network.categories) == 365


@pytest.mark.parametrize("name", ["embedded", "public"])
def test_the_committed_results_are_those_of_the_committed_study(root: Path, name: str) -> None:
    project = Project(root)
    store = Store(project, name)
    asked = load_study(project, name).model_dump(mode="json")
    assert store.provenance()["study"] == asked
    for name in store.tables():
        assert len(store.table(name)) > 0
    files = {path.stem for path in store.folder.glob("*.csv")}
    assert files == set(store.tables())


@pytest.mark.parametrize("name", ["embedded", "public"])
def test_the_committed_predictions_are_those_of_the_network(
    root: Path, mirrored: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("VITRINE_CACHE", str(tmp_path / "cache"))
    project = Project(root)
    study = load_study(project, name)
    store = Store(project, name)
    network = load_classifier(project, study.classifiers[0].name)
    assert network.digest == store.provenance()["classifiers"][0]["sha256"]
    best = store.table("predictions").query("rank == 1").set_index("image")["probability"]
    for path in pipeline.image_paths(project, study).values():
        image = read_image(path)
        found = network.probabilities(network.crop(image)[None])[0].max()
        assert found == pytest.approx(best[image.name], rel=1e-3)
