"""Attribution: how much each pixel of the network's input speaks for a class."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from captum import attr
from torch import Tensor, fx

from vitrine import study as studies
from vitrine.arrays import Inputs, Maps
from vitrine.errors import NotApplicable, StudyError, pick
from vitrine.methods.attribution_query import Attribute, AttributionQuery
from vitrine.methods.feature_maps import map_gradients
from vitrine.methods.guided_backprop import check_activations, guided_gradient
from vitrine.methods.heatmap import Heatmap
from vitrine.methods.input_gradients import gradient, gradient_shap, integrated_gradients, noisy
from vitrine.methods.lrp import RULE, captum_relevance, check_rules, relevance
from vitrine.methods.method import Explain as ExplainInputs
from vitrine.methods.method import Method, Query, Stored, speed_of
from vitrine.models.architecture import Architecture
from vitrine.models.classifier import preserved_state
from vitrine.models.inference import keep_memory, prepared, scoring
from vitrine.study.sections import AttributionParameters as Parameters

BACKWARD = 2
"""A gradient takes about so many forward passes beside its own."""


@dataclass(frozen=True)
class AttributionMethod(Method):
    """A row of ``ATTRIBUTION_METHODS``.

    prepare : makes the function that explains, once for any number of batches; it may give the
        attributions of several methods, by their keys. Raises ``NotApplicable`` with the reason
        where a network does not support the method.
    passes : forward passes for a crop of so many pixels on a side; what progress counts.
    uses : the parameters on which the result depends besides ``batch`` and ``seed``.
    differentiates : whether it takes the network's gradient, which takes longer than a pass.
    rule : how it was computed, where the name leaves a choice.
    reference : the row is there for comparison, and not one of the methods that are recommended.
    """

    prepare: Callable[[AttributionQuery], Callable[[Tensor], Tensor | dict[str, Tensor]]]
    passes: Callable[[Parameters, int], int] = lambda _parameters, _side: 1
    uses: tuple[str, ...] = ()
    signed: bool = field(default=True, kw_only=True)
    differentiates: bool = True
    rule: str = ""
    reference: bool = False

    part = "attribution"

    @property
    def holds_draws(self) -> bool:
        return self.stochastic

    def cost(self, study: studies.Study, architecture: Architecture, *, again: bool = False) -> int:
        assert study.attribution is not None
        passes = self.passes(study.attribution, architecture.preprocessing.crop)
        return passes * (1 + BACKWARD if self.differentiates else 1)

    def parameters(self, study: studies.Study, layer: str | None, variant: str) -> dict[str, Any]:
        assert study.attribution is not None
        used = study.attribution.model_dump(include={"batch", "seed", *self.uses})
        return {"revision": self.revision, "speed": speed_of(study), "parameters": used}

    def explain(self, query: Query) -> Stored:
        passes: list[int] = []

        def told(done: int) -> None:
            passes.append(done)
            query.progress(done)

        heatmap = attribute(replace(query, progress=told))
        with scoring(query.classifier, query.target, query.settings, "logit") as scores:
            inputs = np.asarray(query.classifier.normalise(query.crop[None]).cpu().numpy())
            logit, nothing = scores(np.concatenate([inputs, np.zeros_like(inputs)]))
        values = heatmap.values.astype(np.float64)
        scale = float(np.abs(values).max()) or 1.0
        facts = heatmap.facts() | {
            "passes": sum(passes),
            "scale": scale,
            "total": float(values.sum()),
            "logit": float(logit),
            "logit_of_nothing": float(nothing),
            "rule": self.rule,
        }
        # Half precision of values up to 1 is finer than any screen, and a tenth of the size.
        return {"values": (values / scale).astype(np.float16)}, facts

    @contextmanager
    def repeated(self, query: Query) -> Iterator[ExplainInputs]:
        """With the attributions of each colour channel, and the same draws for every input.

        A stochastic method starts again from its seed for each input by itself, so that two inputs
        are given the same noise, value for value, and only what they are can move the map.
        """
        with explaining(query) as explain:

            def together(inputs: Inputs) -> dict[str, Maps]:
                batch = torch.from_numpy(inputs).to(query.classifier.device)
                if not self.stochastic:
                    return {name: found.cpu().numpy() for name, found in explain(batch).items()}
                each = []
                for one in torch.split(batch, 1):
                    with seeded(query.parameters.seed):
                        each.append(explain(one))
                return {name: torch.cat([e[name] for e in each]).cpu().numpy() for name in each[0]}

            yield together


# --- the methods ---------------------------------------------------------------------------------


def _occlusion(asked: AttributionQuery) -> Attribute:
    parameters = asked.parameters
    occlusion = attr.Occlusion(asked.forward)

    def explain(piece: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = occlusion.attribute(
                piece,
                sliding_window_shapes=(3, parameters.window, parameters.window),
                strides=(3, parameters.stride, parameters.stride),
                baselines=0.0,
                target=asked.target,
                perturbations_per_eval=parameters.batch,
            )
        return found

    return lambda batch: asked.in_pieces(batch, parameters.batch, explain)


def _on_form(
    check: Callable[[fx.GraphModule], None],
    explain: Callable[[fx.GraphModule, Tensor, int], Tensor],
    asked: AttributionQuery,
) -> Attribute:
    check(asked.form)
    return _counted(asked, lambda p: explain(asked.form, asked.laid_out(p), asked.target))


_guided_backpropagation = partial(_on_form, check_activations, guided_gradient)


def _counted(asked: AttributionQuery, explain: Attribute) -> Attribute:
    """With one pass an image, which is told."""

    def counted(piece: Tensor) -> Tensor:
        asked.progress(len(piece))
        return explain(piece)

    return lambda batch: asked.in_pieces(batch, 1, counted)


def _guided_gradcam(asked: AttributionQuery) -> Attribute:
    of_layer = replace(asked, layer=asked.classifier.layer_of_maps())
    guided = _guided_backpropagation(asked)

    def explain(piece: Tensor) -> Tensor:
        try:  # on the network itself, whose layer has a name
            maps, gradients = map_gradients(replace(of_layer, inputs=piece))
        except StudyError as error:
            raise NotApplicable(
                "Guided Grad-CAM needs feature maps, and the layer "
                f"{of_layer.layer!r} of {asked.classifier.title} has none"
            ) from error
        means = gradients.mean(dim=(2, 3), keepdim=True)
        weights = (means * maps).sum(dim=1, keepdim=True).relu()
        large = attr.LayerAttribution.interpolate(weights, tuple(piece.shape[2:]), "nearest")
        found: Tensor = guided(piece) * large.detach()
        return found

    return _counted(asked, explain)


def _windows(parameters: Parameters, side: int) -> int:
    """Places of the window, with the last one moved in at the edge, and the image itself."""
    along = 1 + max(0, -(-(side - parameters.window) // parameters.stride))
    return along**2 + 1


_of_noise = partial(
    AttributionMethod,
    prepare=noisy,
    passes=lambda parameters, _side: parameters.samples * parameters.noisy_steps,
    uses=("samples", "noisy_steps", "noise"),
    stochastic=True,
    signed=False,
)

ATTRIBUTION_METHODS: dict[str, AttributionMethod] = {
    "integrated_gradients": AttributionMethod(
        "Integrated Gradients",
        integrated_gradients,
        passes=lambda parameters, _side: parameters.steps,
        paper="sundararajan2017",
        uses=("steps",),
        rule="a straight path from zero, the mean colour of the normalisation",
    ),
    "smoothgrad_squared": _of_noise(
        "SmoothGrad² of Integrated Gradients",
        paper="hooker2019",
        rule="the mean square of Integrated Gradients over noisy copies of the image",
    ),
    "vargrad": _of_noise(
        "VarGrad of Integrated Gradients",
        paper="adebayo2018",
        rule="the variance of Integrated Gradients over noisy copies of the image",
    ),
    "gradient_shap": AttributionMethod(
        "Gradient SHAP",
        gradient_shap,
        passes=lambda parameters, _side: parameters.points,
        paper="lundberg2017",
        revision=2,
        uses=("points",),
        stochastic=True,
        rule="random points on straight paths from black, grey or white, drawn anew for each",
    ),
    "occlusion": AttributionMethod(
        "Occlusion",
        _occlusion,
        passes=_windows,
        paper="zeiler2014",
        uses=("window", "stride"),
        differentiates=False,
        rule="the loss in the logit where a square is replaced by zero, the mean colour",
    ),
    "lrp": AttributionMethod(
        "Layer-wise Relevance Propagation",
        partial(_on_form, check_rules, relevance),
        paper="bach2015",
        rule=RULE,
    ),
    "guided_backpropagation": AttributionMethod(
        "Guided Backpropagation",
        _guided_backpropagation,
        paper="springenberg2015",
        rule="at every ReLU and ReLU6, whichever way the network calls it",
    ),
    "guided_gradcam": AttributionMethod(
        "Guided Grad-CAM",
        _guided_gradcam,
        passes=lambda _parameters, _side: 2,
        paper="selvaraju2017",
        rule="Guided Backpropagation times Grad-CAM of the last feature maps, enlarged unsmoothed",
    ),
    "gradient": AttributionMethod(
        "Gradient",
        gradient,
        paper="simonyan2014",
        rule="the logit's gradient at the input, with its sign",
        reference=True,
    ),
    "lrp_captum": AttributionMethod(
        "LRP as in Captum",
        lambda asked: _counted(
            asked, lambda p: captum_relevance(asked.classifier.network, p, asked.target)
        ),
        paper="kokhlikyan2020",
        revision=2,
        rule="the library's ε rule, as it hooks the network's modules",
        reference=True,
    ),
}


def pick_attribution_method(name: str) -> AttributionMethod:
    """The row of ``ATTRIBUTION_METHODS`` called ``name``. Raises ``StudyError``."""
    return pick(ATTRIBUTION_METHODS, name, "attribution method", "methods")


# --- running them --------------------------------------------------------------------------------


@contextmanager
def explaining(query: Query) -> Iterator[Callable[[Tensor], dict[str, Tensor]]]:
    """A function that explains a class for batches ``float32 [n, 3, h, w]`` of any size.

    It gives attributions of the batch's shape, by method: SmoothGrad² and VarGrad are two summaries
    of the same noisy copies; every other method comes by itself.

    What can be made once is made once, so this is the way to explain many perturbed copies of an
    image. Draws go on from one call to the next, from the parameters' seed, and PyTorch's and
    NumPy's own generators are given back as they were; so is the network. Raises ``StudyError`` for
    an unknown method or class and ``NotApplicable`` for a network that does not support the method.
    """
    row, classifier = pick_attribution_method(query.method), query.classifier
    classifier.check_target(query.target)
    if query.settings.keep_memory:
        keep_memory()
    takes_engine = query.settings.engine != "torch" and not row.differentiates
    with (
        prepared(classifier, query.settings) if takes_engine else nullcontext() as passes,
        preserved_state(classifier.network),
        seeded(query.parameters.seed),
        torch.enable_grad(),
    ):
        classifier.network.register_forward_hook(
            lambda _network, given, found: classifier.checked(found, len(given[0]))
        )
        made = row.prepare(AttributionQuery(**vars(query), passes=passes))

        def explain(batch: Tensor) -> dict[str, Tensor]:
            found = made(batch)
            by_method = found if isinstance(found, dict) else {query.method: found}
            return {name: maps.detach() for name, maps in by_method.items()}

        yield explain


def attribute(query: Query) -> Heatmap:
    """The attributions of a crop, summed over the colour channels; not scaled, not clipped.

    See ``explaining`` for what it raises. The same query gives the same map to the last digit on
    the same machine. Seconds include preparing the network.
    """
    query.classifier.check_crop(query.crop)
    row = pick_attribution_method(query.method)
    start = time.perf_counter()
    with explaining(query) as explain:
        found = explain(query.batch)[query.method][0].sum(dim=0)
        values = found.cpu().numpy().astype(np.float32)
    seconds = time.perf_counter() - start
    if not np.isfinite(values).all():
        raise NotApplicable(
            f"{row.title} of {query.classifier.title} gives numbers that are not finite, which "
            "shows nothing"
        )
    return Heatmap(values, query.frame, row.signed, query.method, query.target, seconds)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's and NumPy's generators from ``seed``, given back as they were afterwards."""
    state = np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
