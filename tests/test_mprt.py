"""Randomisation goes from the classifier to the input, and everything is given back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, rankdata
from torch import Tensor, nn

from networks import CLASSES, CROP, Awkward, Plain, asked, classifier_of, seeded_network
from vitrine.errors import NotApplicable
from vitrine.measures.mprt import similarity, values_correlation
from vitrine.methods.attribution import attribute
from vitrine.methods.baselines import BASELINES
from vitrine.methods.randomisation import cascade, cascading, untrained
from vitrine.models.registry import load_classifier
from vitrine.project import Project


def _map(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(16, 16))


def test_the_cascade_goes_from_the_classifier_to_the_input(root: Path) -> None:
    lite = load_classifier(Project(root), "efficientnet_lite0", weights="random")
    stages = [f"blocks.{number}" for number in range(6, -1, -1)]
    assert cascade(lite) == ("classifier", "bn2", "conv_head", *stages, "bn1", "conv_stem")
    assert cascade(classifier_of(Plain(), "4")) == ("7", "3", "0")
    with pytest.raises(NotApplicable, match="no layers that can be randomised"):
        cascade(classifier_of(nn.Sequential(nn.Flatten()), "0"))


def test_each_step_randomises_one_block_more_and_all_is_given_back() -> None:
    classifier = classifier_of(Awkward(), "last")
    source = seeded_network(Awkward(), seed=9)
    trained = {name: value.clone() for name, value in classifier.network.state_dict().items()}
    names = []
    with cascading(classifier, source) as steps:
        for block in steps:
            names.append(block)
            for name, value in classifier.network.state_dict().items():
                drawn = source.state_dict()[name] if name.split(".")[0] in names else None
                assert torch.equal(value, trained[name] if drawn is None else drawn), (block, name)
    assert tuple(names) == cascade(classifier)
    for name, value in classifier.network.state_dict().items():
        assert torch.equal(value, trained[name])


class Rooted(nn.Module):
    """A network with parameters that belong to none of its children, as a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 8, 1, 1))
        self.stem = nn.Conv2d(3, 8, 3, 2)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head((self.stem(images) + self.token).relu().mean((2, 3)))


def test_after_the_last_step_nothing_is_trained() -> None:
    classifier, source = classifier_of(Rooted(), "stem"), Rooted()
    trained = classifier.network.token.clone()  # type: ignore[operator]
    with cascading(classifier, source) as steps:
        assert list(steps) == ["head", "stem"]
        assert torch.equal(classifier.network.token, source.token)  # type: ignore[arg-type]
    assert torch.equal(classifier.network.token, trained)  # type: ignore[arg-type]


def test_a_head_of_zeros_has_no_map_before_training() -> None:
    def build() -> nn.Module:
        network = Rooted()
        nn.init.zeros_(network.head.weight)
        nn.init.zeros_(network.head.bias)
        return network

    classifier = replace(classifier_of(Rooted(), "stem"), build=build)
    with pytest.raises(NotApplicable, match="every class the same logit"):
        untrained(classifier)


def test_a_block_that_no_seed_changes_or_is_as_explained_is_not_untrained() -> None:
    pretrained = nn.Conv2d(3, 8, 3, 2).state_dict()

    def transfer() -> nn.Module:
        network = Rooted()
        network.stem.load_state_dict(pretrained)
        return network

    classifier = replace(classifier_of(Rooted(), "stem"), build=transfer)
    with pytest.raises(NotApplicable, match="in stem weights are the explained network's own, or"):
        untrained(classifier)
    torch.manual_seed(0)
    first = Rooted()
    as_built = replace(classifier, network=first, build=Rooted)
    with pytest.raises(NotApplicable, match="no untrained network: in head, stem weights"):
        untrained(as_built, seed=0)
    assert untrained(as_built, seed=1)


def test_what_is_all_alike_from_the_beginning_may_stay_so() -> None:
    def build() -> nn.Module:
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), *head)

    torch.manual_seed(5)
    assert untrained(replace(classifier_of(Rooted(), "stem"), network=build(), build=build))


def test_weights_are_given_back_after_a_failure_too() -> None:
    classifier = classifier_of(Awkward(), "last")
    before = classifier.network.stem.weight.clone()  # type: ignore[operator]

    def fail() -> None:
        with cascading(classifier, seeded_network(Awkward(), seed=9)) as steps:
            assert len(list(steps)) == 6
            raise RuntimeError("out of patience")

    with pytest.raises(RuntimeError, match="out of patience"):
        fail()
    assert torch.equal(classifier.network.stem.weight, before)  # type: ignore[arg-type]


def test_an_untrained_network_is_as_it_is_built_from_the_seed(root: Path) -> None:
    classifier = load_classifier(Project(root), "efficientnet_lite0")
    fresh = load_classifier(Project(root), "efficientnet_lite0", weights="random", seed=3)
    with cascading(classifier, untrained(classifier, seed=3)) as steps:
        list(steps)
        for name, value in classifier.network.state_dict().items():
            assert torch.equal(value, fresh.network.state_dict()[name])


def test_a_map_that_sees_no_network_survives_and_a_gradient_does_not() -> None:
    classifier = classifier_of(Awkward(), "last")

    def maps() -> list[np.ndarray]:
        gradient = attribute(asked("gradient", classifier, 2)).values
        return [gradient, BASELINES["edges"].draw(CROP, 0)]

    before = maps()
    with cascading(classifier, seeded_network(Awkward(), seed=9)) as steps:
        list(steps)
        after = maps()
    for measure in (values_correlation, similarity):
        gradient, edges = (measure(*pair) for pair in zip(before, after, strict=True))
        assert edges == pytest.approx(1) and gradient < 0.5


def test_rank_correlation_is_that_of_the_ranks() -> None:
    first, second = _map(0), _map(0) + _map(1)
    expected = pearsonr(rankdata(first), rankdata(second)).statistic
    assert values_correlation(first, second) == pytest.approx(expected)
    assert values_correlation(first, np.exp(first)) == pytest.approx(1)
    assert values_correlation(first, -first) == pytest.approx(-1)
    assert values_correlation(first, -first, absolute=True) == pytest.approx(1)


def test_similarity_does_not_depend_on_scale() -> None:
    first = _map(0)
    assert similarity(first, first * 1e-6 + 3) == pytest.approx(1)
    assert abs(similarity(first, _map(1))) < 0.3


def test_maps_that_say_nothing_compare_with_nothing() -> None:
    for nothing in (np.zeros((16, 16)), np.full((16, 16), np.nan)):
        for measure in (values_correlation, similarity):
            assert np.isnan(measure(_map(0), nothing)) and np.isnan(measure(nothing, _map(0)))
