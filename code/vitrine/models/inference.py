"""Running a network as fast as the machine at hand can, with the same predictions."""

import copy
import ctypes
import timeit
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vitrine.arrays import Inputs
from vitrine.errors import NotApplicable
from vitrine.models import engine
from vitrine.models.canonical import canonical
from vitrine.models.classifier import Classifier, preserved_state
from vitrine.study.sections import InferenceOptions as InferenceOptions

Forward = Callable[[Tensor], Tensor]
"""Logits ``float32 [n, categories]`` of a batch ``float32 [n, 3, h, w]``."""

OnPasses = Callable[[int], None]
"""Called with the number of forward passes just done, or found not to be needed."""

BATCHES = (4, 8, 16)
"""The batch sizes that are tried. Larger ones only take more memory on a CPU."""

LEAST_GAIN = 1.03
"""A setting that gains less than this is noise; the plainer one is kept."""

LEAST_GAIN_OF_BATCH = 1.1
"""A larger batch takes more memory for certain, so it has to gain more than noise does."""

PLAIN = InferenceOptions()


@contextmanager
def prepared(classifier: Classifier, settings: InferenceOptions) -> Iterator[Forward]:
    """The classifier's network, made ready by ``settings``; its own network stays as it is.

    Threads are set back afterwards, in every case. Batch normalisation that cannot be folded with
    the same logits stays where it is, and a network that OpenVINO cannot run with the same logits
    runs on PyTorch, with a warning that says why.
    """
    threads = torch.get_num_threads()
    if settings.keep_memory:
        keep_memory()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    try:
        with preserved_state(classifier.network):
            yield _on_openvino(classifier, settings) or _forward(classifier, settings)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def scoring(
    classifier: Classifier,
    target: int,
    settings: InferenceOptions = PLAIN,
    quantity: Literal["probability", "logit"] = "probability",
) -> Iterator[Callable[[Inputs], npt.NDArray[np.float32]]]:
    """The target's score ``[n]`` for inputs ``[n, 3, h, w]`` as arrays, as measures ask for it.

    The inputs are one pass, so the measure that asks decides on the size of batches.
    """
    with prepared(classifier, settings) as forward:

        def scores(inputs: Inputs) -> npt.NDArray[np.float32]:
            logits = forward(torch.from_numpy(inputs).to(classifier.device))
            found = classifier.linked(logits) if quantity == "probability" else logits
            return np.asarray(found[:, target].cpu().numpy())

        yield scores


def as_run(classifier: Classifier, settings: InferenceOptions) -> InferenceOptions:
    """The settings with which the passes of a network really run, as results are to tell them.

    Without the engine, and with a warning that says why, where it cannot give the same logits; and
    as it stands where no batch normalisation can be folded.
    """
    if settings.folded and not _folds(classifier):
        settings = settings.model_copy(update={"folded": False})
    if settings.engine == "torch" or not (reason := _refusal(classifier)):
        return settings
    warnings.warn(f"{classifier.title} runs on PyTorch: {reason}", stacklevel=2)
    return settings.model_copy(update={"engine": "torch"})


def fastest_options(classifier: Classifier, *, memory: bool = True) -> InferenceOptions:
    """The settings that are fastest on this machine, by measuring each choice for a moment.

    Memory order and folding are chosen first, then OpenVINO where it is installed and gives the
    same logits, then the batch, then the threads, each by the best of three passes over seeded
    noise; a plainer setting is kept unless another gains 3%, a smaller batch unless one gains 10%.

    memory : whether the allocator may be tuned for the rest of this process.

    On a GPU nothing is measured: the plain network with batches of 64. Write the result into the
    provenance and use it again: other settings give other last digits.
    """
    if classifier.device.type != "cpu":
        return InferenceOptions(batch=64)
    plain = InferenceOptions(batch=BATCHES[0], keep_memory=memory and keep_memory())
    found = _fastest(
        classifier,
        [
            plain.model_copy(update={"channels_last": last, "folded": fold})
            for last in (False, True)
            for fold in ((False, True) if _folds(classifier) else (False,))
        ],
    )
    if engine.installed() and not _refusal(classifier):
        found = _fastest(classifier, [found, found.model_copy(update={"engine": "openvino"})])
    batches = [found.model_copy(update={"batch": batch}) for batch in BATCHES]
    found = _fastest(classifier, batches, LEAST_GAIN_OF_BATCH)
    half = torch.get_num_threads() // 2
    if half:
        found = _fastest(classifier, [found, found.model_copy(update={"threads": half})])
    return found


@cache
def keep_memory() -> bool:
    """Let the C library keep freed memory in this process, and say whether it does.

    glibc gives blocks above a threshold back to the system as soon as they are free and asks for
    them again, page by page, in the next layer; that costs more than half of the time of a batch.
    Other C libraries have no such thresholds, and nothing is changed.
    """
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  is this glibc?
        threshold, trim = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
        return any(
            library.mallopt(threshold, size) == 1 and library.mallopt(trim, 2**31 - 1) == 1
            # Larger blocks, such as the weights of VGG's first linear layer, would leave holes that
            # nothing fits into. Older versions allow 32 MiB at most.
            for size in (2**28, 2**25)
        )
    except (OSError, AttributeError, TypeError):
        return False


# --- variants of a network -----------------------------------------------------------------------


def _on_openvino(classifier: Classifier, settings: InferenceOptions) -> Forward | None:
    """The network on OpenVINO, where the settings ask for it and its logits stay the same."""
    if settings.engine == "torch":
        return None
    try:
        return engine.converted(classifier, _noise(classifier, settings.batch))
    except NotApplicable as reason:
        warnings.warn(f"{classifier.title} runs on PyTorch: {reason}", stacklevel=4)
        return None


def _refusal(classifier: Classifier) -> str:
    """Why OpenVINO cannot run the network with the same logits; empty where it can."""
    try:
        with preserved_state(classifier.network):
            engine.converted(classifier, _noise(classifier, PLAIN.batch))
    except NotApplicable as reason:
        return str(reason)
    return ""


def _forward(classifier: Classifier, settings: InferenceOptions) -> Forward:
    network = _variant(classifier, settings)
    form = torch.channels_last if settings.channels_last else torch.contiguous_format

    def forward(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            return classifier.logits(batch.contiguous(memory_format=form), network)

    return forward


def _variant(classifier: Classifier, settings: InferenceOptions) -> nn.Module:
    network = classifier.network
    if not settings.folded and not settings.channels_last:
        return network
    changed = (_fold(classifier) if settings.folded else None) or copy.deepcopy(network)
    if settings.channels_last:
        changed = changed.to(memory_format=torch.channels_last)
    return changed.eval()


def _folds(classifier: Classifier) -> bool:
    """Whether the network has batch normalisation that can be folded with the same logits."""
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in classifier.network.modules()):
        return False
    return _fold(classifier) is not None


def _fold(classifier: Classifier) -> nn.Module | None:
    """A copy of the network with batch normalisations folded, if its logits stay the same."""
    try:
        return canonical(classifier.network, _noise(classifier, 1))
    except NotApplicable:
        return None


# --- measuring -----------------------------------------------------------------------------------


def _noise(classifier: Classifier, count: int) -> Tensor:
    """Seeded noise from black to white as the network's input: its scale is the network's own."""
    side = classifier.preprocessing.crop
    drawn = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return classifier.normalise(drawn)


def _fastest(
    classifier: Classifier, candidates: list[InferenceOptions], least_gain: float = LEAST_GAIN
) -> InferenceOptions:
    """The first candidate than which none has enough more images a second."""
    rates = [_rate(classifier, settings) for settings in candidates]
    is_near = [max(rates) <= least_gain * rate for rate in rates]
    return candidates[is_near.index(True)]


def _rate(classifier: Classifier, settings: InferenceOptions) -> float:
    batch = _noise(classifier, settings.batch)
    with prepared(classifier, settings) as forward:
        forward(batch)
        return settings.batch / min(timeit.repeat(lambda: forward(batch), number=1, repeat=3))
