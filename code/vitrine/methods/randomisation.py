"""A network whose layers are randomised from the classifier down, and given back as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vitrine.errors import NotApplicable
from vitrine.models.classifier import Classifier


def cascade(classifier: Classifier) -> tuple[str, ...]:
    """The blocks that are randomised one after the other, from the classifier to the input.

    A block is a child of the network that has parameters; a sequence of stages counts as its
    stages. Raises ``NotApplicable`` for a network without any.
    """
    blocks: list[str] = []
    for name, child in classifier.network.named_children():
        stages = [f"{name}.{stage}" for stage, _ in child.named_children()]
        blocks += stages if isinstance(child, nn.Sequential) else [name]
    found = [name for name in blocks if classifier.layer(name).state_dict()]
    if not found:
        raise NotApplicable(f"{classifier.title} has no layers that can be randomised")
    return tuple(reversed(found))


@contextmanager
def cascading(classifier: Classifier, source: nn.Module) -> Iterator[Iterator[str]]:
    """Each step randomises the next block of ``cascade`` and gives its name.

    source : where the random weights and statistics come from. After the last step the network has
        those of ``source`` alone; ``untrained`` gives one as it is built before training.

    What was randomised stays so until the context ends; then the weights are given back, to the
    last bit, in every case. One network is changed, so nothing else may use it meanwhile.

    >>> with cascading(classifier, untrained(classifier)) as steps:  # doctest: +SKIP
    ...     for block in steps:
    ...         class_activation(query)
    """
    blocks = cascade(classifier)
    state = {name: value.clone() for name, value in classifier.network.state_dict().items()}

    def steps() -> Iterator[str]:
        for block in blocks:
            classifier.layer(block).load_state_dict(source.get_submodule(block).state_dict())
            if block == blocks[-1]:  # what belongs to no block as well, such as a class token
                classifier.network.load_state_dict(source.state_dict())
            yield block

    try:
        yield steps()
    finally:
        classifier.network.load_state_dict(state)


def untrained(classifier: Classifier, seed: int = 0) -> nn.Module:
    """The classifier's network as it is built before training, from a seed.

    Raises ``NotApplicable`` where it cannot be made, or where a block of it is not random: it has
    the weights of the classifier itself, or those that it has whatever the seed.
    """
    if classifier.build is None:
        raise NotApplicable(f"How {classifier.title} is built before training is not known")
    drawn = []
    for each in (seed, seed + 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(each)
            drawn.append(classifier.build())
    network, another = drawn
    if all(map(torch.equal, network.parameters(), another.parameters())):
        raise NotApplicable(f"{classifier.title} is built with the same parameters for every seed")
    if kept := _not_random(classifier, network, another):
        named = ", ".join(kept[:3]) + (", …" if len(kept) > 3 else "")
        raise NotApplicable(
            f"{classifier.title} as it is built is no untrained network: in {named} weights are "
            "the explained network's own, or the same for every seed"
        )
    side = classifier.preprocessing.crop
    with torch.inference_mode():
        noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        logits = network.to(classifier.device).eval()(noise.to(classifier.device))
    if len(classifier.categories) > 1 and logits.max() == logits.min():
        raise NotApplicable(
            f"{classifier.title} is built with a head that gives every class the same logit, so no "
            "class has a map before training"
        )
    return network


def _not_random(classifier: Classifier, network: nn.Module, another: nn.Module) -> list[str]:
    """The blocks of a network, built twice from different seeds, that are not randomised.

    Numbers that are all alike, as the ones and zeros with which norms and biases begin, say
    nothing: they come from no training.
    """
    trained = classifier.network.state_dict()
    found = []
    for block in cascade(classifier):
        drawn = network.get_submodule(block).named_parameters(block)
        of_others = dict(another.get_submodule(block).named_parameters(block))
        if any(
            bool((value != value.flatten()[0]).any())
            and (torch.equal(value, of_others[name]) or torch.equal(value, trained[name].to(value)))
            for name, value in drawn
            if value.numel()
        ):
            found.append(block)
    return found
