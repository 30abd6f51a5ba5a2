"""Images with some superpixels hidden, built in batches and shown to the network.

And how a class's probability holds when only some superpixels are shown, or all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitrine.data.images import Pixels
from vitrine.errors import StudyError
from vitrine.methods.superpixels import Segments
from vitrine.models.classifier import Classifier, Probabilities
from vitrine.models.inference import PLAIN, InferenceOptions, OnPasses, prepared

Shown = npt.NDArray[np.int64]
"""``int64 [samples, superpixels]``: 1 where a superpixel is shown, 0 where it is hidden."""


def draw(samples: int, superpixels: int, seed: int) -> Shown:
    """Which superpixels each sample shows, as the library ``lime`` draws them; first of all, all.

    Fewer samples of the same seed are the first rows of more.
    """
    generator = np.random.RandomState(seed)
    generator.randint(0, 1000)  # the library draws a seed for its own segmentation first
    shown: Shown = generator.randint(0, 2, samples * superpixels).reshape(samples, superpixels)
    shown[0] = 1
    return shown


def mean_colours(crop: Pixels, segments: Segments) -> Pixels:
    """The crop ``uint8 [h, w, 3]`` with each superpixel in its mean colour, rounded down."""
    flat = segments.ravel()
    counts = np.maximum(np.bincount(flat), 1)
    means = [
        np.bincount(flat, weights=channel.ravel()) / counts for channel in crop.T.swapaxes(1, 2)
    ]
    return np.stack(means, axis=1).astype(np.uint8)[segments]


@dataclass(frozen=True)
class MaskedImage:
    """A crop whose superpixels can be hidden: both images as the network's input.

    seen, hidden : ``float32 [1, 3, h, w]``, the crop and its superpixels' mean colours.
    segments : ``int16 [h, w]``.
    target : index of the class that the network is asked about.
    """

    seen: Tensor
    hidden: Tensor
    segments: Segments
    target: int

    @property
    def count(self) -> int:
        """How many superpixels there are."""
        return int(self.segments.max()) + 1

    def images(self, shown: Shown) -> Tensor:
        """The network's input ``float32 [n, 3, h, w]`` for rows of ``shown``.

        Chosen pixel by pixel from two normalised images, so that it equals to the last digit
        what normalising each perturbed image gives.
        """
        # NumPy's `take` on bytes is twice as fast as indexing in PyTorch.
        pixels = shown.astype(bool).take(self.segments.ravel(), axis=1)
        visible = torch.from_numpy(pixels.reshape(-1, 1, *self.segments.shape))
        return torch.where(visible.to(self.seen.device), self.seen, self.hidden)


def mask(classifier: Classifier, crop: Pixels, segments: Segments, target: int) -> MaskedImage:
    """Prepare a crop ``uint8 [h, w, 3]`` for hiding its superpixels, to ask about a class.

    Raises ``StudyError`` for a crop of another size than the network's input, superpixels of
    another crop's size, a class out of range, or one superpixel.
    """
    classifier.check_crop(crop)
    classifier.check_target(target)
    if segments.shape != crop.shape[:2]:
        raise StudyError(
            f"Superpixels of the shape {segments.shape} do not fit a crop of the shape "
            f"{crop.shape}",
            "Take those of this crop",
        )
    if segments.max() == segments.min():
        raise StudyError(
            "There is one superpixel, so there is nothing to compare",
            "Take a segmentation that finds more",
        )
    seen, hidden = (
        classifier.normalise(pixels[None]) for pixels in (crop, mean_colours(crop, segments))
    )
    return MaskedImage(seen, hidden, segments, target)


def sample_probabilities(
    classifier: Classifier,
    masked: Sequence[MaskedImage],
    shown: Sequence[Shown],
    settings: InferenceOptions,
    progress: OnPasses = lambda _: None,
) -> list[Probabilities]:
    """The probability ``float32 [samples]`` of each image's class for its samples.

    Batches go on from one image to the next, so that none but the last is smaller than
    ``settings.batch``.
    """
    ends = np.cumsum([0, *map(len, shown)])
    owners = np.repeat(np.arange(len(shown)), np.diff(ends))  # whose each of all samples is
    targets = np.array([image.target for image in masked])[owners]
    found = np.empty(len(owners), dtype=np.float32)
    with prepared(classifier, settings) as forward:
        for start in range(0, len(found), settings.batch):
            stop = min(start + settings.batch, len(found))
            owned = owners[start:stop]
            images = [
                masked[index].images(shown[index][max(start - ends[index], 0) : stop - ends[index]])
                for index in range(owned[0], owned[-1] + 1)
            ]
            probabilities = classifier.linked(forward(torch.cat(images))).cpu().numpy()
            found[start:stop] = probabilities[np.arange(len(owned)), targets[start:stop]]
            progress(stop - start)
    return [found[start:stop] for start, stop in pairwise(ends)]


@dataclass(frozen=True)
class Fidelity:
    """Probability of a class for the whole image, for what was kept alone, and without that."""

    p_original: float
    p_kept: float
    p_removed: float


def fidelities(
    classifier: Classifier,
    masked: MaskedImage,
    sets: Sequence[Sequence[int]],
    settings: InferenceOptions = PLAIN,
) -> list[Fidelity]:
    """How the class's probability holds when only one set of superpixels is shown, or all others.

    sets : of superpixels, which share batches. Hidden ones have their mean colour, as in LIME
    itself. Raises ``StudyError`` for a superpixel that does not exist.
    """
    count = masked.count
    wrong = [index for kept in sets for index in kept if not 0 <= index < count]
    if wrong:
        raise StudyError(
            f"There is no superpixel {wrong[0]}", f"The superpixels are 0 to {count - 1}"
        )
    shown = np.ones((1 + 2 * len(sets), count), dtype=np.int64)
    for row, kept in enumerate(sets):
        shown[2 * row + 1] = 0
        shown[2 * row + 1, list(kept)], shown[2 * row + 2, list(kept)] = 1, 0
    (found,) = sample_probabilities(classifier, [masked], [shown], settings)
    whole, rest = float(found[0]), found[1:].reshape(-1, 2)
    return [Fidelity(whole, float(kept), float(removed)) for kept, removed in rest]
