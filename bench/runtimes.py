"""A pass of a network through other runtimes: ``python bench/runtimes.py``.

Sixteen images of seeded noise, float32, as many threads as PyTorch has; one process a measurement,
in turn. The time to make the network ready is told apart from the time of a pass. Differences are
from the logits in double precision, as a share of their range. A runtime that is not installed has
a row that says so: ``pip install 'vitrine[bench]'``.
"""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from measure import Measured, Sheet, ask, fastest, in_turn, measured, network, options
from torch import Tensor, nn

from vitrine.arrays import Values
from vitrine.models import engine
from vitrine.models.classifier import Classifier
from vitrine.models.inference import InferenceOptions, prepared

BATCH, PASSES = 16, 5

Pass = Callable[[Tensor], np.ndarray]
"""Logits ``[n, categories]`` of a batch ``[n, 3, h, w]``."""


def _torch(module: nn.Module) -> Pass:
    def run(batch: Tensor) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(module(batch))

    return run


def _compiled(classifier: Classifier, batch: Tensor) -> Pass:
    compiled: nn.Module = torch.compile(classifier.network.eval())  # type: ignore[assignment]
    return _torch(compiled)


def _onnxruntime(classifier: Classifier, batch: Tensor) -> Pass:
    import onnxruntime

    exported = torch.onnx.export(classifier.network.eval(), (batch,), dynamo=True, verbose=False)
    assert exported
    file = io.BytesIO()
    exported.save(file)  # type: ignore[arg-type]
    wanted = onnxruntime.SessionOptions()
    wanted.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file.getvalue(), wanted, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch.numpy()})[0]


def _openvino(classifier: Classifier, batch: Tensor) -> Pass:
    classifier.network.eval()
    run = engine.converted(classifier, batch[:4])
    return lambda batch: np.asarray(run(batch))


RUNTIMES: dict[str, tuple[Callable[[Classifier, Tensor], Pass], tuple[str, ...]]] = {
    "PyTorch": (lambda classifier, _: _torch(classifier.network.eval()), ()),
    "torch.compile": (_compiled, ()),
    "ONNX Runtime": (_onnxruntime, ("onnxruntime", "onnx", "onnxscript")),
    "OpenVINO": (_openvino, ("openvino",)),
}
"""How a network is made ready for a runtime, and the packages that it needs."""


def one(name: str, side: int, settings: InferenceOptions, runtime: str) -> Measured:
    """Measure passes of the network; ``runtime`` is a row of the table or ``ours``."""
    classifier, *_ = network(name, side)
    batch = _noise(classifier)
    start = time.perf_counter()
    if runtime == "ours":
        with prepared(classifier, settings) as forward:
            return _passes(lambda batch: np.asarray(forward(batch)), batch, start)
    return _passes(RUNTIMES[runtime][0](classifier, batch), batch, start)


def _passes(run: Pass, batch: Tensor, start: float) -> Measured:
    """The least of some passes; the first one belongs to making ready, which began at ``start``."""
    run(batch)
    ready = time.perf_counter() - start

    def work() -> tuple[np.ndarray, dict[str, Any]]:
        spent = []
        for _ in range(PASSES):
            began = time.perf_counter()
            logits = run(batch)
            spent.append(time.perf_counter() - began)
        return logits, {"ready": ready, "pass": min(spent)}

    told = measured(work)
    return replace(told, seconds=told.facts["pass"])


def exact(name: str, side: int) -> Values:
    """The logits in double precision."""
    classifier, *_ = network(name, side)
    batch, module = _noise(classifier), classifier.network.double().eval()
    return _torch(module)(batch.double()).ravel()


def plainest(name: str, side: int) -> InferenceOptions:
    """The fastest settings of PyTorch alone."""
    engine.installed = lambda: False
    return fastest(name, side)


def _noise(classifier: Classifier) -> Tensor:
    side = classifier.preprocessing.crop
    drawn = np.random.default_rng(2).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    return classifier.normalise(drawn)


def compare(
    name: str, side: int, settings: InferenceOptions, runs: int
) -> Iterator[dict[str, object]]:
    """One row a runtime, PyTorch as it stands first and with the fastest settings second."""
    expected = ask(exact, name, side)
    titles = {"PyTorch": "PyTorch as it stands", "ours": "PyTorch, fastest settings"}
    present = ["PyTorch", "ours", *(each for each in RUNTIMES if each != "PyTorch" and _has(each))]
    found = in_turn(runs, *(partial(ask, one, name, side, settings, each) for each in present))
    for runtime, told in zip(present, found, strict=True):
        yield {
            "runtime": titles.get(runtime, runtime),
            "ready s": f"{told.facts['ready']:.2f}",
            "pass s": f"{told.seconds:.3f}",
            "ratio": f"{found[0].seconds / told.seconds:.2f}",
            "max diff": f"{np.abs(told.values - expected).max() / np.ptp(expected):.1e}",
            "note": "",
        }
    for runtime in RUNTIMES:
        if not _has(runtime):
            empty = dict.fromkeys(("ready s", "pass s", "ratio", "max diff"), "")
            yield {"runtime": runtime, **empty, "note": "not installed"}


def _has(runtime: str) -> bool:
    return all(find_spec(package) for package in RUNTIMES[runtime][1])


def main() -> None:
    given = options("A pass of a network through other runtimes").parse_args()
    installed = [each for name in RUNTIMES if _has(name) for each in RUNTIMES[name][1]]
    sheet = Sheet(given.save, *installed)
    for name in given.networks:
        best = ask(plainest, name, given.side)
        sheet.table(f"{name}: {best.facts()}", compare(name, given.side, best, given.runs))


if __name__ == "__main__":
    main()
