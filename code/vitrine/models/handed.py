"""What must hold of a network that somebody hands over, before anything is asked of it."""

from typing import Any

import torch
from torch import nn

from vitrine.errors import StudyError
from vitrine.models.architecture import first_line

_SAME = 1e-3
"""By how much of the largest logit passes of one image may differ: rounding, on any device."""


def checked_module(given: Any, said: str) -> nn.Module:
    """What somebody hands over, if it is a network whose layers can be seen and exchanged.

    said : how the sentence about anything else begins. Raises ``StudyError``.
    """
    if not isinstance(given, nn.Module):
        kind = (
            f"the class {given.__name__}"
            if isinstance(given, type)
            else f"an object of type {type(given).__name__}"
        )
        raise StudyError(f"{said} {kind} and no torch.nn.Module", "Return the network")
    if isinstance(given, torch.jit.ScriptModule):
        raise StudyError(
            f"{said} a network compiled by TorchScript, whose layers cannot be looked into",
            "Give the network that it was compiled from",
        )
    return given


def check_batch(network: nn.Module, side: int, title: str, device: torch.device | None) -> None:
    """Raises ``StudyError`` where an image's logits change beside another, or from pass to pass."""
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        with torch.inference_mode():
            alone, both = network(images[:1].clone()), network(images.clone())[:1]
    except Exception as error:
        raise StudyError(
            f"{title} refuses a batch of two images: {type(error).__name__} ({first_line(error)})",
            "Let it take as many images as it is given; each method runs batches",
        ) from error
    scale = float(alone.nan_to_num(0, 0, 0).abs().max())
    if not torch.allclose(both, alone, rtol=0, atol=_SAME * scale, equal_nan=True):
        raise StudyError(
            f"The logits that {title} gives for an image change from pass to pass, or with the "
            "other images of a batch",
            "Find what draws or looks across the batch in eval mode: dropout and normalisation "
            "called as functions need training=self.training",
        )
