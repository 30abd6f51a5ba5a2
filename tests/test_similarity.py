"""The five similarities of CLIP-Dissect are those of the paper, and of its authors' code."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from oracles import similarities
from vitrine.errors import StudyError
from vitrine.methods.dissection import similarity
from vitrine.methods.dissection.probing_size import probing_rounds
from vitrine.methods.dissection.similarity import SIMILARITIES, Matches

# What the authors' implementation gives for `_waves()`: Trustworthy-ML-Lab/CLIP-dissect,
# similarity.py at commit 21e7697feaea3bf7d7bc2d2cc8e4047d5f5fd502, in single precision. Its rank
# reorder divides by a random baseline, one number a unit, so that only the quotients compare.
PUBLISHED = {
    "soft_wpmi": [
        [-1.752644, -0.03839111, 0.7149963, 0.6781425, 0.8317146],
        [-0.4541931, 0.7052078, -0.1111832, -0.08752823, -0.3863449],
        [0.7846909, -4.312893, -2.796108, -2.175056, -3.763165],
    ],
    "wpmi": [
        [-18.17876, -18.65492, -18.78039, -17.91544, -18.2483],
        [-18.0099, -18.54723, -18.1584, -18.62836, -18.49372],
        [-18.5658, -18.2739, -18.43402, -18.64366, -18.57109],
    ],
    "rank_reorder": [
        [-4.034612, -1.568408, -1.465261, -1.209195, -1.545141],
        [-1.084141, -2.377653, -2.263603, -3.063192, -1.923028],
        [-2.618364, -2.595386, -2.524847, -2.45363, -1.147573],
    ],
    "cosine": [
        [0.3681341, 0.3841205, 0.3881286, 0.3836724, 0.3762494],
        [0.3459129, 0.3594899, 0.3631163, 0.3597028, 0.3534684],
        [0.3261859, 0.3367239, 0.3396503, 0.3373213, 0.3325828],
    ],
    "cosine_cubed": [
        [0.0112871, 0.03894684, 0.09987559, -0.005575553, 0.02596596],
        [-0.03487158, 0.06485483, 0.0009417608, 0.01413181, 0.03543322],
        [-0.04865965, 0.004185773, 0.03301369, 0.04603032, 0.03192364],
    ],
}
SMALLER: dict[str, dict[str, float]] = {
    "soft_wpmi": {"top_k": 20},
    "rank_reorder": {"top_fraction": 0.2},
}


def _waves() -> tuple[Tensor, Tensor]:
    """Activations ``[60, 3]`` and matches ``[60, 5]`` that need no random generator."""
    i = torch.arange(60, dtype=torch.float64)
    units = [torch.sin(i * (k + 1) * 0.7 + k) + 0.01 * i for k in range(3)]
    concepts = [0.25 + 0.2 * torch.cos(i * (k + 2) * 0.3 + k) for k in range(5)]
    return torch.stack(units, 1).float(), torch.stack(concepts, 1).float()


def _random(images: int, units: int, concepts: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(images)
    activations = torch.rand(images, units, generator=generator)
    matches = 0.2 + 0.05 * torch.randn(images, concepts, generator=generator)
    return activations, matches


def _plain(name: str, q: Tensor, matches: Tensor, given: dict[str, float]) -> Tensor:
    """The formulas as the paper prints them, slowly and in double precision."""
    q, matches = q.double(), matches.double()
    values = SIMILARITIES[name].parameters | given
    found = torch.zeros(q.shape[1], matches.shape[1], dtype=torch.float64)
    if name in ("soft_wpmi", "wpmi"):
        softmax = (values["a"] * matches).softmax(dim=1)
        top = int(values["top_k"])
        for u in range(q.shape[1]):
            for k, i in enumerate(q[:, u].argsort(descending=True, stable=True)[:top]):
                p = 1.0
                if name == "soft_wpmi":
                    p = values["p_start"] - k / top * (values["p_start"] - values["p_end"])
                found[u] += (1 + p * (softmax[i] - 1) + 1e-7).log()
        return found - values["lam"] * found.exp().mean(dim=0).log()
    if name == "rank_reorder":
        top = int(len(q) * values["top_fraction"])
        for u in range(q.shape[1]):
            strongest, order = q[:, u].sort(descending=True, stable=True)
            strongest, order = strongest[:top], order[:top]
            pairs = [abs(a - b) ** values["p"] for a in strongest for b in strongest]
            for c in range(matches.shape[1]):
                ranks = matches[order, c].argsort().argsort()
                error = ((strongest - strongest.flip(0)[ranks]).abs() ** values["p"]).mean()
                scale = matches[order, c].mean() ** values["scale_p"]
                found[u, c] = -error / (sum(pairs) / len(pairs)) / scale
        return found
    if name == "cosine_cubed":
        q, matches = (q - q.mean(dim=0)) ** 3, (matches - matches.mean(dim=0)) ** 3
    least = 1e-3 if name == "cosine_cubed" else 0.0
    lengths = [vectors.norm(dim=0).clamp(min=least) for vectors in (q, matches)]
    return (q / lengths[0]).T @ (matches / lengths[1])


def _differ(found: Tensor, expected: Tensor) -> float:
    """The greatest difference, relative to the greatest value."""
    return float((found.double() - expected.double()).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", sorted(SIMILARITIES))
def test_they_are_those_of_the_authors_implementation(name: str) -> None:
    activations, matches = _waves()
    found = similarities(name, activations, Matches(matches), **SMALLER.get(name, {}))
    expected = torch.tensor(PUBLISHED[name])
    if name == "rank_reorder":
        found, expected = found / found[:, :1], expected / expected[:, :1]
    assert _differ(found, expected) < 1e-4


@pytest.mark.parametrize("name", sorted(SIMILARITIES))
@pytest.mark.parametrize("size", [(120, 2, 7), (300, 5, 300), (150, 130, 40)])
def test_they_are_the_papers_formulas_in_double_precision(
    name: str, size: tuple[int, int, int]
) -> None:
    if name == "rank_reorder" and size[1] * size[2] > 2000:
        size = (size[0], 3, 20)
    activations, matches = _random(*size)
    found = similarities(name, activations, Matches(matches))
    expected = _plain(name, activations, matches, {})
    assert _differ(found, expected) < 2e-5
    assert torch.equal(found.argmax(dim=1), expected.argmax(dim=1))


@pytest.mark.parametrize("name", sorted(SIMILARITIES))
def test_the_size_of_the_blocks_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    activations, matches = _random(120, 9, 50)
    whole = similarities(name, activations, Matches(matches))
    monkeypatch.setattr(similarity, "BLOCK_CONCEPTS", 7)
    monkeypatch.setattr(similarity, "BLOCK_UNITS", 2)
    assert _differ(similarities(name, activations, Matches(matches)), whole) < 1e-5


def test_matches_of_embeddings_are_their_inner_products() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(110, 6, generator=generator)
    concepts = torch.randn(33, 6, generator=generator)
    activations = torch.rand(110, 4, generator=generator)
    found = similarities("soft_wpmi", activations, Matches(images, concepts))
    given = similarities("soft_wpmi", activations, Matches(images @ concepts.T))
    assert _differ(found, given) < 1e-5


def test_soft_wpmi_is_closer_to_double_precision_than_the_plain_form() -> None:
    activations, matches = _random(300, 5, 2000)
    exact = _plain("soft_wpmi", activations, matches, {})
    found = similarities("soft_wpmi", activations, Matches(matches))

    softmax = (10 * matches).softmax(dim=1)
    p = (0.998 - torch.arange(100) / 100 * 0.028)[:, None]
    order = activations.argsort(dim=0, descending=True)[:100]
    logs = torch.stack(
        [(1 + p * (softmax[order[:, u]] - 1) + 1e-7).log().sum(dim=0) for u in range(5)]
    )
    plain = logs - (logs.logsumexp(dim=0) - math.log(5))
    assert _differ(found, exact) < 0.1 * _differ(plain, exact)


@pytest.mark.parametrize(
    ("given", "tolerance"),
    [
        ({"p_start": 1.0, "a": 200.0}, 1e-3),
        ({"p_start": 0.9999999, "a": 200.0}, 1e-3),
        ({"p_start": 0.5, "a": 200.0}, 1e-3),
        ({"lam": 0.6}, 1e-5),  # whose constant is kept
    ],
)
def test_soft_wpmi_never_overflows(given: dict[str, float], tolerance: float) -> None:
    activations, matches = _random(120, 4, 30)
    found = similarities("soft_wpmi", activations, Matches(matches), **given)
    assert found.isfinite().all()
    assert _differ(found, _plain("soft_wpmi", activations, matches, given)) < tolerance


@pytest.mark.parametrize("units", [2, 40])
def test_soft_wpmi_cannot_exceed_the_logarithm_of_the_number_of_units(units: int) -> None:
    activations, matches = _random(150, units, 30)
    matches[activations[:, 0].argsort(descending=True)[:100], 0] += 4  # the first unit's own
    found = similarities("soft_wpmi", activations, Matches(matches))
    assert 0.9 * math.log(units) < found.max() <= math.log(units) + 1e-4


def test_a_concept_that_does_not_match_on_average_is_no_label_by_rank() -> None:
    activations, matches = _random(100, 3, 4)
    matches[:, 1] = -0.1
    found = similarities("rank_reorder", activations, Matches(matches))
    assert (found[:, 1] == -math.inf).all()
    assert found[:, [0, 2, 3]].isfinite().all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: similarity.pick_similarity("soft_pmi"), "Did you mean 'soft_wpmi'"),
        (lambda: similarity.pick_similarity("wpmi", p_end=1), "no parameter 'p_end'"),
        (lambda: similarity.pick_similarity("cosine", a=1), "It has none"),
        (
            lambda: similarity.pick_similarity("wpmi", top_k=1.5),
            "must be a whole number from 1",
        ),
        (lambda: similarity.pick_similarity("soft_wpmi", top_k=-1), "a whole number from 1"),
        (lambda: similarity.pick_similarity("soft_wpmi", p_start=2), "'p_start' is 2, and it"),
        (lambda: similarity.pick_similarity("soft_wpmi", p_end=-1), "'p_end' is -1, and it"),
        (lambda: similarity.pick_similarity("wpmi", a=0), "'a' is 0, and it must be above 0"),
        (lambda: similarity.pick_similarity("wpmi", lam=-1), "'lam' is -1, and it must be 0"),
        (lambda: probing_rounds([20, 50], 5, 10, 2), "is to have 20 images, and the whole has 10"),
        (
            lambda: similarities("soft_wpmi", torch.rand(99, 2), Matches(torch.rand(99, 3))),
            "looks at the 100 strongest images of each unit, but the probing set has 99",
        ),
    ],
)
def test_what_does_not_exist_or_fit_is_named(call: Callable[[], object], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        call()
