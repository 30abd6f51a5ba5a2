"""Layer-wise relevance propagation as the library Captum computes it, to show what it is worth."""

import copy
import re
import warnings

from captum import attr
from torch import Tensor, nn

from vitrine.errors import NotApplicable


def captum_relevance(network: nn.Module, batch: Tensor, target: int) -> Tensor:
    """Captum's LRP ``[n, 3, h, w]``, on a copy of the network, as it leaves rules in the modules.

    Captum 0.9 hooks the modules that have parameters, poolings and activations, and lets the
    gradient stand for all else: relevance is not kept where two tensors are added or normalised by
    a batch, and no error says so. Raises ``NotApplicable`` where it does raise one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that hooks are set and removed
            found: Tensor = attr.LRP(copy.deepcopy(network)).attribute(batch, target=target)
    except Exception as error:  # the library raises what it stumbles over
        raise NotApplicable(_why(str(error))) from error
    return found.detach()


def _why(message: str) -> str:
    """What the library's error says, as one sentence that a table can hold."""
    module = re.search(r"Module of type <class '(?:[\w.]*\.)?(\w+)'> has no rule", message)
    if module:
        return f"Captum has no rule for the network's modules of the type {module[1]}"
    first = message.split(". ")[0]
    return f"Captum's layer-wise relevance propagation stops at this network ({first})"
