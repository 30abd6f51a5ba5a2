"""A pass of a network through other runtimes: ``python bench/runtimes.py``.

Sixteen images of seeded noise, float32, as many threads as PyTorch has; one process a measurement,
in turn. The time to make the network ready is told apart from the time of a pass. Differences are
from the logits in double precision, as a share of their range. A runtime that is not installed has
a row that says so: ``pip install 'vitrine[bench]'``.
"""

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from measure import Measured, Sheet, ask, in_turn, network, options, settings_of, tell
from torch import Tensor, nn

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
    return _torch(torch.compile(classifier.network.eval()))


def _onnxruntime(classifier: Classifier, batch: Tensor) -> Pass:
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(classifier.network.eval(), (batch,), dynamo=True, verbose=False).save(file)
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


def one(name: str, runtime: str, side: str, settings: str) -> None:
    """Measure passes of the network; ``runtime`` is a row of the table or ``ours``."""
    classifier, *_ = network(name, int(side))
    batch = _noise(classifier)
    start = time.perf_counter()
    if runtime == "ours":
        with prepared(classifier, InferenceOptions(**json.loads(settings))) as forward:
            _tell(lambda batch: np.asarray(forward(batch)), batch, start)
    else:
        _tell(RUNTIMES[runtime][0](classifier, batch), batch, start)


def _tell(run: Pass, batch: Tensor, start: float) -> None:
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

    tell(work)


def exact(name: str, side: str) -> None:
    """The logits in double precision."""
    classifier, *_ = network(name, int(side))
    batch, module = _noise(classifier), classifier.network.double().eval()
    tell(lambda: (_torch(module)(batch.double()), {}))


def _noise(classifier: Classifier) -> Tensor:
    side = classifier.preprocessing.crop
    drawn = np.random.default_rng(2).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    return classifier.normalise(drawn)


def compare(sheet: Sheet, name: str, runs: int, side: int) -> None:
    """One row a runtime, PyTorch as it stands first and with the fastest settings second."""
    fastest = ask(__file__, "settings", name, str(side)).facts
    expected = ask(__file__, "exact", name, str(side)).values
    sheet.head(f"{name}: {fastest}", "runtime", "ready s", "pass s", "ratio", "max diff", "note")

    def run(runtime: str) -> Measured:
        told = ask(__file__, name, runtime, str(side), json.dumps(fastest))
        return replace(told, seconds=told.facts["pass"])

    titles = {"PyTorch": "PyTorch as it stands", "ours": "PyTorch, fastest settings"}
    present = ["PyTorch", "ours", *(each for each in RUNTIMES if each != "PyTorch" and _has(each))]
    found = in_turn(runs, *(partial(run, runtime) for runtime in present))
    for runtime, (told, seconds) in zip(present, found, strict=True):
        sheet.row(
            titles.get(runtime, runtime),
            f"{told.facts['ready']:.2f}",
            f"{seconds:.3f}",
            f"{found[0][1] / seconds:.2f}",
            f"{np.abs(told.values - expected).max() / np.ptp(expected):.1e}",
            "",
        )
    for runtime in RUNTIMES:
        if not _has(runtime):
            sheet.row(runtime, "", "", "", "", "not installed")


def _has(runtime: str) -> bool:
    return all(find_spec(package) for package in RUNTIMES[runtime][1])


def main() -> None:
    given = options("A pass of a network through other runtimes").parse_args()
    if given.one and given.one[0] == "settings":
        engine.installed = lambda: False  # PyTorch's own
        settings_of(*given.one[1:])
    elif given.one and given.one[0] == "exact":
        exact(*given.one[1:])
    elif given.one:
        one(*given.one)
    else:
        installed = [each for name in RUNTIMES if _has(name) for each in RUNTIMES[name][1]]
        sheet = Sheet(given.save, *installed)
        for name in given.networks:
            compare(sheet, name, given.runs, given.side)


if __name__ == "__main__":
    main()
