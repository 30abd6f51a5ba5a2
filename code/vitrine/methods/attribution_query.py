"""What an attribution method explains, with the passes that it has taken."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx, nn

from vitrine.errors import NotApplicable
from vitrine.methods.method import Query
from vitrine.models.canonical import canonical
from vitrine.models.inference import Forward

Attribute = Callable[[Tensor], Tensor]
"""Attributions ``float32 [n, 3, h, w]`` of a batch of the network's input, of the same shape."""


@dataclass(frozen=True)
class AttributionQuery(Query):
    """What a method explains: a classifier's logit of one class.

    settings : of these the layout in memory and whether freed memory is kept are followed.
    passes : what runs passes that nothing differentiates, if not PyTorch.
    """

    passes: Forward | None = None

    def forward(self, batch: Tensor) -> Tensor:
        """The logits, counted; differentiable where PyTorch runs the passes."""
        self.progress(len(batch))
        if self.passes:
            return self.passes(batch)
        return self.classifier.logits(self.laid_out(batch), self.fast)

    def laid_out(self, batch: Tensor) -> Tensor:
        """The batch in the memory layout of the settings."""
        return batch.contiguous(memory_format=self._layout)

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.settings.channels_last else torch.contiguous_format

    @cached_property
    def form(self) -> fx.GraphModule:
        """The network's canonical form. Raises ``NotApplicable``."""
        side = self.classifier.preprocessing.crop
        example = torch.linspace(-1, 1, 3 * side * side, device=self.classifier.device)
        form = canonical(self.classifier.network, example.reshape(1, 3, side, side))
        return form.to(memory_format=self._layout)

    @cached_property
    def fast(self) -> nn.Module:
        """The canonical form where there is one: twice as fast as with batch normalisations."""
        try:
            return self.form
        except NotApplicable:
            return self.classifier.network

    @property
    def references(self) -> Tensor:
        """Black, grey (zero) and white as the network's input ``[3, 3, h, w]``."""
        side = self.classifier.preprocessing.crop
        ends = np.repeat(np.array([0, 255], np.uint8), side * side * 3).reshape(2, side, side, 3)
        black, white = self.classifier.normalise(ends)
        return torch.stack([black, torch.zeros_like(black), white])

    def in_pieces(self, batch: Tensor, copies: int, explain: Attribute) -> Tensor:
        """``explain`` for as many images at once as fit when each is there ``copies`` times."""
        size = max(1, self.parameters.batch // copies)
        return torch.cat([explain(piece) for piece in torch.split(batch, size)])
