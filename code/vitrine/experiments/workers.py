"""Who computes the tasks of a run: this process, more processes of this machine, or a Dask cluster.

Dask schedules, retries and carries. A worker loads networks and images once, computes one task at a
time and sends its result home; only the leading process writes the store, which workers read for
what a task builds on: on a cluster the project's folder lies at the same path for all.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from vitrine.errors import VitrineError
from vitrine.experiments.base import (
    Context,
    Experiment,
    Piece,
    Progress,
    Task,
    computed,
    gather,
)
from vitrine.experiments.registry import asked, context_of
from vitrine.methods.registry import methods_of
from vitrine.models.inference import InferenceOptions
from vitrine.models.registry import best_device
from vitrine.project import Project
from vitrine.store import TaskResult
from vitrine.study import Study

if TYPE_CHECKING:
    from distributed import Client, Future

DEATHS = 20
"""So many workers of this machine may die over a task until it is the task that is to blame."""

PATIENCE = 30
"""Seconds to wait for a scheduler, and for its first worker."""

COMEBACK = 120
"""Seconds without any worker until none is believed to come back: Dask starts another for one that
dies, but not for one that dies while it starts, nor for one of a cluster."""

FEWER = "Look whether memory suffices, and take fewer workers or start others"
"""What to do about workers that die."""

DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""What a worker of this machine begins with: a terminal sends Ctrl-C to the whole group, and it is
the leading process that ends its workers."""

Results = Iterator[tuple[Task, TaskResult]]


@dataclass(frozen=True)
class Workers:
    """Whom to hire: ``count`` processes of this machine, or those of a scheduler that runs."""

    count: int = 0
    scheduler: str = ""


def workers_for(device: str, count: int | None, scheduler: str) -> Workers | None:
    """Whom a command hires: as it was asked, or a worker for each of several GPUs; else nobody."""
    if not (count or scheduler) and best_device(device) == "cuda":
        several = torch.cuda.device_count()
        count = several if several > 1 else None
    return Workers(count or 0, scheduler) if count or scheduler else None


class Crew:
    """Who computes: this process, where it hires nobody."""

    def prepare(self, experiment: Experiment, progress: Progress) -> None:
        """Do the work that comes before an experiment's tasks."""
        gather(experiment, None, progress)
        experiment.prepare(progress)

    def results(self, experiment: Experiment, tasks: Sequence[Task], progress: Progress) -> Results:
        """Each task with its result as soon as it is there, to be stored before the next."""
        for task in tasks:
            yield task, computed(experiment, task, progress)


@contextmanager
def hired(workers: Workers | None, context: Context) -> Iterator[Crew]:
    """Who computes. Processes that are started here end with the block, in every case.

    Raises ``VitrineError`` where Dask is not installed, a scheduler does not answer or is lost, or
    workers cannot be started, all die, or die over the same task again and again.
    """
    if workers is None:
        yield Crew()
        return
    if importlib.util.find_spec("distributed") is None:
        raise VitrineError(
            "Several workers need Dask, which is not installed",
            "Install the project with its extra `scale`, or let one process compute",
        )
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        yield Hired(_client(workers, stack), _setup(workers, context))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the log of Dask's own comings and goings; what goes wrong is raised.

    Loggers are silenced and not their handlers, as a network's own code may have added some.
    """
    import distributed as _  # noqa: F401, which sets their levels

    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _client(workers: Workers, stack: ExitStack) -> Client:
    import dask
    from distributed import Client, LocalCluster

    if not workers.scheduler:
        settings = {
            "distributed.scheduler.allowed-failures": DEATHS,
            "distributed.scheduler.worker-saturation": 1.0,  # no task waits on a worker
            # Dask's own lets the C library give every freed block back to the system, which costs
            # a quarter of a pass.
            "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": _threads(workers)},
        }
        stack.enter_context(dask.config.set(settings))
        try:
            cluster = LocalCluster(
                n_workers=workers.count,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
                preload=DEAF,
            )
        except (RuntimeError, OSError) as error:
            raise VitrineError(
                f"The workers cannot be started ({error.__cause__ or error})", FEWER
            ) from error
        local: Client = stack.enter_context(Client(stack.enter_context(cluster)))
        return local
    try:
        client: Client = stack.enter_context(Client(workers.scheduler, timeout=PATIENCE))
        client.wait_for_workers(1, timeout=PATIENCE)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise VitrineError(
            f"The scheduler {workers.scheduler} does not answer, or has no workers",
            "Start them with `dask scheduler` and `dask worker ADDRESS`, or correct the address",
        ) from error
    return client


# --- on a worker ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setup:
    """What a worker makes its own experiments from.

    token : another for every run.
    threads : of torch; 0 leaves them as they are.
    settings, probing_digests : what the leading process found out, for the worker's own context.
    """

    token: str
    project: Project
    study: Study
    device: str
    threads: int
    settings: dict[str, InferenceOptions]
    probing_digests: list[str]


def _threads(workers: Workers) -> int:
    """Of each worker: those of this process are shared; 0 leaves a cluster's as they are."""
    return max(1, torch.get_num_threads() // workers.count) if workers.count else 0


def _setup(workers: Workers, context: Context) -> Setup:
    return Setup(
        uuid.uuid4().hex,
        context.project,
        context.study,
        context.device,
        _threads(workers),
        # Measured once, if any method asks: other settings give other last digits.
        {name: context.settings(name) for name in context.classifiers}
        if methods_of(context.study)
        else {},
        context.probing_digests,
    )


_one_at_a_time = threading.Lock()
_own: dict[str, dict[str, Experiment]] = {}
"""The experiments of this worker, by the run's token and by name."""


def _ask(setup: Setup, name: str, method: str, *arguments: Any) -> Any:
    """What a method of this worker's own experiment of that name gives; one is asked at a time."""
    with _one_at_a_time:
        if setup.token not in _own:
            _own.clear()
            _own[setup.token] = _experiments(setup)
        if setup.threads:
            torch.set_num_threads(setup.threads)
        return getattr(_own[setup.token][name], method)(*arguments)


def _experiments(setup: Setup) -> dict[str, Experiment]:
    from distributed import get_worker

    place = get_worker().name
    if setup.device == "cuda" and isinstance(place, int):
        torch.cuda.set_device(place % torch.cuda.device_count())
    context = context_of(setup.project, setup.study, setup.device)
    context.known_settings.update(setup.settings)
    context.probing_digests.extend(setup.probing_digests)
    return {one.__name__: one(context) for one in asked(setup.study)}


# --- in the leading process -----------------------------------------------------------------------


class Hired(Crew):
    """Workers of Dask."""

    def __init__(self, client: Client, setup: Setup) -> None:
        self._client, self._token = client, setup.token
        self._worth: dict[Any, int] = {}  # the passes that are done with each future, by its key
        # As a task, not as data that is scattered: Dask makes it again where it is lost.
        self._setup = client.submit(lambda: setup, key=f"setup {setup.token}")

    def prepare(self, experiment: Experiment, progress: Progress) -> None:
        if pieces := experiment.pieces(None):
            progress.step(pieces[0].about)
            futures = self._pieces(experiment, pieces)
            whole = self._whole(experiment, futures)
            for _, found in self._done([*futures, whole], {whole.key}, progress):
                experiment.take(None, found)
        experiment.prepare(progress)

    def results(self, experiment: Experiment, tasks: Sequence[Task], progress: Progress) -> Results:
        for wave in experiment.waves(tasks):
            asked: dict[Any, list[Task]] = {}
            futures = self._asked(experiment, wave, asked)
            for key, found in self._done(futures, asked.keys(), progress):
                progress.step(experiment.describe(asked[key][-1]))
                yield from zip(asked[key], found, strict=True)

    def _asked(
        self, experiment: Experiment, wave: Sequence[Task], asked: dict[Any, list[Task]]
    ) -> list[Future[Any]]:
        """The results of a wave's tasks, and the pieces before them.

        asked : told by key, whose results they are.
        """
        futures: list[Future[Any]] = []
        seen: set[Any] = set()  # a piece that several tasks ask for is done once
        groups: dict[str, list[Task]] = {}
        for task in wave:
            groups.setdefault(experiment.together(task), []).append(task)
        for about, tasks in groups.items():
            parts = self._pieces(experiment, experiment.pieces(tasks[0]))
            whole = self._whole(experiment, parts) if parts else None
            future = self._submit(experiment, about, "results", tasks, whole)
            new = [part for part in parts if part.key not in seen]
            seen.update(part.key for part in new)
            before = sum(self._worth[part.key] for part in new)
            self._worth[future.key] = sum(task.passes for task in tasks) - before
            asked[future.key] = tasks
            futures += [*new, future]
        return futures

    def _submit(
        self, experiment: Experiment, about: str, method: str, *arguments: Any
    ) -> Future[Any]:
        """What a method of a worker's own such experiment gives; the same future for what was asked
        of this run before.

        Its key begins with the kind of work and a hyphen: of what is of one kind Dask keeps a queue
        for all workers, and gives no worker its share before it is free.
        """
        name = type(experiment).__name__
        key = f"{name}.{method}-{about} {self._token}"
        return self._client.submit(_ask, self._setup, name, method, *arguments, key=key)

    def _pieces(self, experiment: Experiment, pieces: Sequence[Piece]) -> list[Future[Any]]:
        futures = []
        for piece in pieces:
            future = self._submit(experiment, str(piece.arguments), piece.method, *piece.arguments)
            self._worth[future.key] = piece.passes
            futures.append(future)
        return futures

    def _whole(self, experiment: Experiment, futures: list[Future[Any]]) -> Future[Any]:
        """What all pieces give, neighbours joined again and again, so that none waits for all."""
        if len(futures) == 1:
            return futures[0]
        middle = len(futures) // 2
        halves = (futures[:middle], futures[middle:])
        first, second = (self._whole(experiment, half) for half in halves)
        return self._submit(experiment, str(first.key), "joined", first, second)

    def _done(
        self, futures: list[Future[Any]], wanted: Container[Any], progress: Progress
    ) -> Iterator[tuple[str, Any]]:
        """The results that are wanted, as they come; the list is emptied, so that none is kept."""
        from distributed import KilledWorker, as_completed

        waiting = as_completed(futures)
        futures.clear()
        try:
            while waiting.count():
                future = self._awaited(waiting.__anext__)
                progress.advance(self._worth.get(future.key, 0))
                if future.key in wanted:
                    if future.status == "error":
                        future.result()  # which raises it
                    gather = partial(self._client.gather, future, asynchronous=True)
                    yield future.key, self._awaited(gather)
        except KilledWorker as error:
            raise VitrineError(
                f"Every worker that began this step was killed ({error.task})", FEWER
            ) from error
        except (CancelledError, OSError) as error:
            raise VitrineError(
                "The scheduler of the workers is lost",
                "Start it again; the same command goes on where this run was",
            ) from error

    def _awaited(self, ask: Callable[[], Any]) -> Any:
        """What Dask gives once it is there. A scheduler waits for ever where no worker is left."""
        alone, patience = 0.0, 1.0
        while alone < COMEBACK:
            try:
                return self._client.sync(ask, callback_timeout=patience)
            except TimeoutError:
                alone = 0 if self._client.nthreads() else alone + patience
                patience = min(2 * patience, COMEBACK)  # what is large takes long to come
        raise VitrineError(
            "All workers are lost, and none came in their place",
            f"{FEWER}; the same command goes on where this run was",
        )
