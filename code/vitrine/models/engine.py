"""The passes of a network on OpenVINO, where its logits are PyTorch's up to rounding."""

import sys
import warnings
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from vitrine.errors import NotApplicable, StudyError
from vitrine.models.architecture import first_line
from vitrine.models.classifier import Classifier

Run = Callable[[Tensor], Tensor]
"""Logits ``float32 [n, categories]`` of a batch ``float32 [n, 3, side, side]``."""

TOLERANCE = 1e-4
"""The greatest difference of a logit that is rounding, as a share of the logits' range."""

PRECISION = "f32"
"""``bf16`` is three times as fast where a processor has it, but does not keep the ranks of LIME's
weights (``bench/lime_images.py``)."""


_last: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], Run | str]] = WeakKeyDictionary()
"""What a network was converted from, and what became of it: how it is run, or why it cannot be.

The last conversion alone, as it holds a copy of the parameters.
"""


def installed() -> bool:
    """Whether OpenVINO can be imported; it is not imported to find out."""
    return find_spec("openvino") is not None


def converted(classifier: Classifier, noise: Tensor) -> Run:
    """The classifier's network on OpenVINO, in ``float32`` and with PyTorch's number of threads.

    noise : ``float32 [n, 3, side, side]``, as many images as a pass has: a fixed number is up to a
        quarter faster than any. Logits are compared on the first two.

    Conversion takes half a second: the last one is kept while its network lives and has the same
    parameters. The logits are compared each time. Raises ``NotApplicable`` where OpenVINO is not
    installed, and for a network that is not on a CPU, that cannot be converted, or whose logits
    differ by more than ``TOLERANCE``.
    """
    if classifier.device.type != "cpu":
        raise NotApplicable("OpenVINO runs networks on a CPU only")
    if not installed():
        raise NotApplicable("OpenVINO is not installed (pip install 'vitrine[fast]')")
    outcome = _outcome(classifier.network, noise)
    if isinstance(outcome, str):
        raise NotApplicable(f"OpenVINO cannot convert the network: {outcome}")
    some = noise[:2]
    with torch.inference_mode():
        expected = classifier.logits(some)
    try:
        found = classifier.checked(outcome(some), len(some))
    except (RuntimeError, StudyError) as error:
        raise NotApplicable(
            f"OpenVINO cannot run the network: {first_line(error).rstrip('.')}"
        ) from error
    difference = float((found - expected).abs().max())
    if not difference <= TOLERANCE * float(expected.max() - expected.min()):
        raise NotApplicable(f"Logits from OpenVINO differ by {difference:.2g} from PyTorch's")
    return outcome


def _outcome(network: nn.Module, example: Tensor) -> Run | str:
    """What the conversion of the network gave, the last time or now."""
    made_of = (torch.get_num_threads(), *example.shape, *_checksums(network))
    known, outcome = _last.get(network, ((), ""))
    if known == made_of:
        return outcome
    _last.clear()
    try:
        outcome = _convert(network, example)
    except Exception as error:  # tracing runs the network's own Python, which may raise anything
        outcome = first_line(error).rstrip(".")
    _last[network] = made_of, outcome
    return outcome


def _convert(network: nn.Module, example: Tensor) -> Run:
    # Without this module OpenVINO reports its use to its makers as soon as it is imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": PRECISION,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # or the threads of all processes would share the first cores
    }
    # What is converted may share memory with the parameters; once they change it is not used again.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of its age and of each branch in Python
        one = example[:1].clone()
        traced = torch.jit.trace(network, one, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced, example_input=one, input=[tuple(example.shape)])
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    size = len(example)

    def run(batch: Tensor) -> Tensor:
        images = batch.detach().contiguous().numpy()
        filled = np.pad(images, ((0, -len(images) % size), (0, 0), (0, 0), (0, 0)), mode="edge")
        passes = [compiled(part)[0] for part in filled.reshape(-1, size, *images.shape[1:])]
        return torch.from_numpy(np.concatenate(passes)[: len(images)])

    return run


def _checksums(network: nn.Module) -> tuple[int, ...]:
    """A checksum of each parameter and buffer."""
    return tuple(
        zlib.crc32(value.detach().contiguous().numpy()) for value in network.state_dict().values()
    )
