"""A network's predictions and explanations as functions of arrays, as measures ask for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from vitrine.models.classifier import Classifier, preserved_state
from vitrine.models.inference import PLAIN, InferenceOptions, prepared

Inputs = npt.NDArray[np.float32]
"""``float32 [n, 3, h, w]``, a network's input."""


@contextmanager
def scoring(
    classifier: Classifier,
    target: int,
    settings: InferenceOptions = PLAIN,
    quantity: Literal["probability", "logit"] = "probability",
) -> Iterator[Callable[[Inputs], npt.NDArray[np.float32]]]:
    """The target's score ``[n]`` for inputs ``[n, 3, h, w]``, in inference mode.

    The inputs are one pass, so the measure that asks decides on the size of batches.
    """
    with preserved_state(classifier.network), prepared(classifier, settings) as forward:

        def scores(inputs: Inputs) -> npt.NDArray[np.float32]:
            logits = forward(torch.from_numpy(inputs).to(classifier.device))
            found = classifier.linked(logits) if quantity == "probability" else logits
            return np.asarray(found[:, target].cpu().numpy())

        yield scores
