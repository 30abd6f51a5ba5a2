"""A study on several workers: the same results, whatever happens to the workers."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from conftest import MEASURES, counting, new_tiny
from networks import TINY_CLIP
from vitrine.errors import VitrineError
from vitrine.experiments.base import Progress
from vitrine.experiments.run import Summary, run
from vitrine.experiments.workers import Workers, workers_for
from vitrine.project import Project
from vitrine.store import Store
from vitrine.study import Study, load_study

ROW = (
    '{ name = "own", network = "own.py:build", weights = "random", '
    'classes = "classes.txt", size = 32 }'
)
STUDY = f"""
title = "tiny"
description = "Two images, a network of our own, and all kinds of tasks."
classifiers = [{ROW}]

[images]
folder = "images"
files = ["n00000001_red_square.png", "n00000002_noise.png"]

[cam]
methods = ["gradcam", "scorecam"]

[speed]
batch = 8

[lime]
samples = 60
segmentation = {{ method = "slic", n_segments = 9 }}

[agreement]
bootstrap = 100

[attribution]
methods = ["gradient", "smoothgrad_squared", "vargrad"]
samples = 2
noisy_steps = 2
{MEASURES}"""

DISSECTION = f"""
[dissection]
concepts = "words.txt"
classifiers = [{ROW}]
images = {{ folder = "probing" }}
parameters = {{ top_k = 4 }}
encoder = {{ name = "clip", model = "tiny.json", pretrained = "random" }}
probing = {{ sizes = [8, 16], draws = 2, units = 4 }}
batch = 4
null_draws = 300
"""

OWN = """
import time
from pathlib import Path
from torch import nn

class Slow(nn.Module):
    def forward(self, values):
        time.sleep(float((Path(__file__).parent / "seconds.txt").read_text()))
        return values

def build():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3), Slow(),
    )
"""


@pytest.fixture
def many(tmp_path: Path) -> Project:
    """A small study of all kinds of tasks, by a network whose passes can be made slow."""
    project = new_tiny(tmp_path, STUDY)
    (project.root / "own.py").write_text(OWN)
    (project.root / "seconds.txt").write_text("0")
    (project.root / "classes.txt").write_text("cat\ndog\nbird\n")
    return project


@pytest.fixture
def dissected(many: Project, mirrored: Path) -> Project:
    """The same with a dissection, by a probing set of 18 images in batches of four."""
    (many.root / "tiny.json").write_text(TINY_CLIP)
    (many.root / "words.txt").write_text("fish\nbird\nshark\ngoldfish\nred\nblue\nwater\nthe\n")
    (many.root / "probing").mkdir()
    generator = np.random.default_rng(0)
    for place in range(18):
        pixels = generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(many.root / "probing" / f"{place:02d}.png")
    path = many.study_file("tiny")
    path.write_text(path.read_text() + DISSECTION)
    return many


def _study(project: Project) -> Study:
    return load_study(project, "tiny")


def _results(project: Project) -> dict[str, Any]:
    """What is stored, but for how long it took, which is taken out of the store."""
    folder = project.results / "tiny"
    found = {}
    for path in sorted((folder / "tasks").rglob("*.npz")):
        with np.load(path) as archive:
            arrays = {key: (archive[key].dtype, archive[key].tobytes()) for key in archive.files}
            meta = json.loads(str(archive["meta"]))
        arrays.pop("meta")
        found[path.relative_to(folder).as_posix()] = arrays, meta["key"], _untimed(meta["facts"])
    return found


def _untimed(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {key: _untimed(value) for key, value in facts.items() if key != "seconds"}
    return facts


def _forget(project: Project) -> None:
    for path in sorted((project.results / "tiny").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    for path in (project.cache / "embeddings").glob("*.npy"):
        path.unlink()


def test_any_number_of_workers_gives_the_same_results(dissected: Project) -> None:
    many, alone = dissected, run(dissected, _study(dissected))
    expected = _results(many)
    assert len(expected) == alone.computed > 40
    threads = torch.get_num_threads()
    for count in (1, 2, 4):
        _forget(many)
        told, planned, passes = counting()
        try:
            torch.set_num_threads(count)  # which they share
            assert run(many, _study(many), "cpu", told, Workers(count)) == alone
        finally:
            torch.set_num_threads(threads)
        assert sum(passes) == planned[0][0]
        assert _results(many) == expected, count
        assert Store(many, "tiny").is_finished()
    assert run(many, _study(many), workers=Workers(2)) == Summary(0, alone.computed)


def _processes() -> list[psutil.Process]:
    """The worker processes of this one."""
    every = psutil.process_iter(["ppid", "cmdline"])
    own = [one for one in every if one.info["ppid"] == os.getpid()]
    return [one for one in own if "spawn_main" in " ".join(one.info["cmdline"] or ())]


def test_workers_that_are_killed_cost_their_task_and_nothing_else(many: Project) -> None:
    alone = run(many, _study(many))
    expected = _results(many)
    _forget(many)
    (many.root / "seconds.txt").write_text("0.02")
    generator, killed, over = np.random.default_rng(0), [], threading.Event()

    def kill() -> None:
        while len(killed) < 10 and not over.wait(generator.uniform(0.2, 1.5)):
            if working := _processes():
                victim = working[generator.integers(len(working))]
                victim.kill()
                killed.append(victim.pid)

    murderer = threading.Thread(target=kill)
    started = threading.Event()

    def begin(_passes: int) -> None:
        if not started.is_set():
            started.set()
            murderer.start()

    try:
        done = run(many, _study(many), "cpu", Progress(advance=begin), Workers(3))
    finally:
        over.set()
        murderer.join()
    assert len(killed) == 10
    assert done == alone
    assert _results(many) == expected
    assert not _processes()


def test_workers_that_cannot_be_started_again_end_the_run(
    many: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    no_more = many.root / "no_more"
    begin = f"import os; os.path.exists({str(no_more)!r}) and os._exit(1)"
    monkeypatch.setattr("vitrine.experiments.workers.DEAF", begin)
    monkeypatch.setattr("vitrine.experiments.workers.COMEBACK", 3)

    def kill(_passes: int) -> None:
        no_more.touch()
        for working in _processes():
            working.kill()

    for said, progress in (("none came in their place", kill), ("cannot be started", None)):
        with pytest.raises(VitrineError, match=f"{said}.*take fewer workers"):
            run(many, _study(many), "cpu", Progress(advance=progress or print), Workers(2))
        assert not _processes()
    assert not [one.name for one in caplog.records if one.name.startswith("distributed")]


def _command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A command in a session of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "1000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


# A test may itself have been started by a process that ignores Ctrl-C.
HEARING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
MAIN = ("-c", f"{HEARING}; from vitrine.cli import main; main()", "run", "--study", "tiny")


def test_a_run_that_is_stopped_leaves_no_process_and_goes_on_there(many: Project) -> None:
    (many.root / "seconds.txt").write_text("0.05")
    going = _command(many.root, *MAIN, "--workers", "2")
    assert any("lime" in line for line in iter(going.stderr.readline, ""))
    os.killpg(going.pid, signal.SIGINT)  # as a terminal does, for the whole group
    _, error = going.communicate(timeout=60)
    assert going.returncode == 130, error
    assert "stopped; what was computed is kept" in error and "Traceback" not in error
    deadline = time.monotonic() + 20
    while _of_session(going.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _of_session(going.pid)
    (many.root / "seconds.txt").write_text("0")
    rest = run(many, _study(many))
    assert rest.kept > 0 and rest.computed > 0


def _of_session(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                found.append(process.pid)
        except (ProcessLookupError, PermissionError):
            continue
    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, dict[str, subprocess.Popen[str]]]]:
    """The address of a scheduler with one worker, and both."""
    told = tmp_path / "scheduler.json"
    port = ["--port", "0", "--no-dashboard", "--scheduler-file", str(told)]
    scheduler = _command(tmp_path, "-m", "distributed.cli.dask_scheduler", *port)
    once = ["--nthreads", "2", "--no-nanny", "--no-dashboard", "--death-timeout", "5"]
    worker = _command(
        tmp_path, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(told), *once
    )
    try:
        deadline = time.monotonic() + 60
        while not told.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield json.loads(told.read_text())["address"], {"scheduler": scheduler, "workers": worker}
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("lost", "said"),
    [("scheduler", "The scheduler of the workers is lost"), ("workers", "All workers are lost")],
)
def test_a_cluster_computes_until_its_scheduler_or_all_workers_are_lost(
    many: Project,
    cluster: tuple[str, dict[str, subprocess.Popen[str]]],
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
    said: str,
) -> None:
    address, processes = cluster
    monkeypatch.setattr("vitrine.experiments.workers.COMEBACK", 3)
    (many.root / "seconds.txt").write_text("0.02")
    done: list[int] = []

    def lose(passes: int) -> None:
        done.append(passes)
        if len(done) == 6:
            processes[lost].kill()

    with pytest.raises(VitrineError, match=f"{said}.*goes on where this run was"):
        run(many, _study(many), "cpu", Progress(advance=lose), Workers(scheduler=address))
    (many.root / "seconds.txt").write_text("0")
    rest = run(many, _study(many))
    assert rest.kept >= 5 and rest.computed > 0


def test_a_scheduler_that_is_not_there_is_one_message(
    many: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.experiments.workers.PATIENCE", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(VitrineError, match="does not answer, or has no workers.*dask worker"):
            run(many, _study(many), workers=Workers(scheduler=address))
    assert not Store(many, "tiny").is_finished()


def test_an_error_on_a_worker_is_the_message_that_it_would_be_alone(many: Project) -> None:
    (many.root / "own.py").write_text(OWN.replace("return values", "return values / 0 * 0"))
    with pytest.raises(VitrineError) as alone:
        run(many, _study(many))
    with pytest.raises(VitrineError) as hired:
        run(many, _study(many), workers=Workers(1))
    about, said = str(alone.value).split(": ", 1)
    assert said == "build of own.py gives logits that are not numbers. Check the network's weights."
    assert str(hired.value) in (f"{about}: {said}", f"noise: {said}")  # whichever came first
    assert not _processes()


def test_workers_are_hired_on_request_or_for_each_of_several_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert workers_for("cpu", None, "") is None
    assert workers_for("cpu", 3, "") == Workers(3)
    assert workers_for("cpu", None, "tcp://a:1") == Workers(0, "tcp://a:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for devices, hired in ((1, None), (4, Workers(4))):
        monkeypatch.setattr(torch.cuda, "device_count", lambda devices=devices: devices)
        assert workers_for("cuda", None, "") == hired
        assert workers_for("auto", None, "") == hired


def test_without_dask_one_message_says_how_to_get_it(
    many: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "distributed" else found(name)
    )
    with pytest.raises(VitrineError, match="need Dask.*extra `scale`"):
        run(many, _study(many), workers=Workers(2))
