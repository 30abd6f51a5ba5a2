"""LIME looked at closely: its models, how far they repeat, and a search for its parameters."""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from vitrine.experiments.base import (
    OF_IMAGE,
    STABILITY,
    Columns,
    Experiment,
    Progress,
    Row,
    Rows,
    Task,
    at_random,
    searched,
    segmentation_key,
)
from vitrine.measures.map_extent import centre_of_mass
from vitrine.measures.stability import chance_jaccard, mean_jaccard, relative_std, weight_std
from vitrine.methods import lime
from vitrine.methods.method import speed_of
from vitrine.methods.perturbation import MaskedImage, draw, fidelities, mask
from vitrine.methods.registry import pick_method
from vitrine.methods.superpixels import (
    KEPT,
    SEGMENTATIONS,
    Segments,
    superpixels,
    top_superpixels,
)
from vitrine.store import TaskResult
from vitrine.study import Study
from vitrine.study import lime as lime_section

DRAWS = 20
"""Random choices of each size, a control. Of a greater size they hold those of a smaller one."""

TABLES = {
    "lime": {
        **OF_IMAGE,
        "target": "index of the explained class",
        "superpixels": "number of superpixels",
        "samples": "number of perturbed images",
        "intercept": "intercept of the local model",
        "r_squared": "weighted R² of the local model",
        "local_prediction": "probability that the local model gives the whole image",
        "probability": "probability that the network gives the whole image",
        "reason": "why the fit of the local model means nothing; empty where it tells something",
    },
    "superpixels": {
        **OF_IMAGE,
        "superpixel": "number of the superpixel in the segmentation",
        "weight": "coefficient in the local model",
        "share": "share of the frame that it covers",
    },
    "fidelity": {
        **OF_IMAGE,
        "rule": "positive: the greatest positive weights; both signs: the greatest in size",
        "superpixels": "number of superpixels that were chosen",
        "p_original": "probability of the class for the whole image",
        "p_kept": "probability when only those superpixels are shown",
        "p_removed": "probability when all others are shown",
        "area": "share of the frame that those superpixels cover",
        "p_kept_random": "mean p_kept of as many superpixels drawn at random",
        "p_removed_random": "mean p_removed of as many superpixels drawn at random",
        "area_random": "mean share of the frame that as many drawn at random cover",
    },
    "stability": {
        **OF_IMAGE,
        "samples": "number of perturbed images in each explanation",
        "runs": "number of independent explanations",
        "jaccard": "mean Jaccard index of the best superpixels over all pairs of explanations",
        "jaccard_chance": "about that index for superpixels chosen at random",
        "relative_std": "deviation of the weights over the explanations, over that of their means",
        "r_squared": "mean weighted R² of the local models",
    },
    "repeats": {
        **OF_IMAGE,
        "superpixel": "number of the superpixel in the segmentation",
        "mean": "mean weight over the seeds",
        "std": "standard deviation of the weight over the seeds",
        "chosen": "share of the seeds whose explanation has it among the best",
    },
    "search": {
        **OF_IMAGE,
        "segmentation": "the segmentation with its parameters",
        "method": "key of the segmentation",
        "superpixels": "number of superpixels",
        "samples": "number of perturbed images in each explanation",
        "features": "number of superpixels that are kept",
        "r_squared": "mean weighted R² of the local models",
        "jaccard": "mean Jaccard index of the kept superpixels over all pairs of seeds",
        "jaccard_chance": "about that index for superpixels chosen at random",
        "p_original": "probability of the class for the whole image",
        "p_kept": "mean probability when only the kept superpixels are shown",
        "p_removed": "mean probability when all others are shown",
        "area": "mean share of the frame that the kept superpixels cover",
        "p_kept_random": "mean p_kept of about as many superpixels drawn at random",
        "p_removed_random": "mean p_removed of about as many superpixels drawn at random",
        "area_random": "mean share of the frame that about as many drawn at random cover",
        "off_centre": "mean distance of their centre of mass from the frame's centre, in widths",
    },
}


def lime_tasks(study: Study) -> Iterator[Task]:
    """LIME again and again on each image, and with each other segmentation."""
    assert study.lime is not None
    wanted = study.lime
    common = wanted.model_dump(include={"kernel_width", "seed", "segmentation"})
    common |= {"speed": speed_of(study), "revision": lime.REVISION}
    for row in study.classifiers:
        if again := wanted.stability:
            known = common | again.model_dump(include={"seeds", "samples"})
            for file in study.images.files:
                yield Task(row.name, "lime", file, again.seeds * again.samples, known, STABILITY)
        if search := wanted.search:
            asked = search.model_dump(exclude={"segmentations"})
            passes = search.seeds * search.samples[-1]
            for segmentation in search.segmentations:
                known = common | asked | {"segmentation": segmentation.model_dump()}
                for file in study.images.files:
                    yield Task(row.name, "lime", file, passes, known, searched(segmentation))


def control_tasks(study: Study) -> Iterator[Task]:
    """The control of each segmentation's fidelity: random superpixels shown and hidden."""
    assert study.lime is not None
    wanted, search = study.lime, study.lime.search
    common = pick_method("lime").parameters(study, None, "") | {"random": DRAWS}
    for row in study.classifiers:
        for segmentation in dict.fromkeys(wanted.segmentations):  # LIME's own may be searched too
            known = common | {"of": segmentation.model_dump()}
            sizes = {wanted.features} if segmentation == wanted.segmentation else set()
            if search and segmentation in search.segmentations:
                known["search"] = search.model_dump(exclude={"segmentations"})
                sizes |= set(search.features)
            passes = 1 + 2 * DRAWS * len(sizes)
            for file in study.images.files:
                yield Task(row.name, "lime", file, passes, known, at_random(segmentation))


class LimeExperiment(Experiment):
    """Repeats LIME with other draws, and with other segmentations and numbers of samples.

    Beside what LIME's superpixels keep of a class stands what as many random ones keep.
    """

    SECTION = "lime"
    TABLES = TABLES
    wanted: lime_section.Lime

    @classmethod
    def methods(cls, study: Study) -> list[dict[str, str]]:
        used = dict.fromkeys(one.method for one in cls.section(study).segmentations)
        rows = ((name, SEGMENTATIONS[name]) for name in used)
        return [{"name": name, "title": row.title, "paper": row.paper} for name, row in rows]

    @cached_property
    def tasks(self) -> list[Task]:
        return [*lime_tasks(self.study), *control_tasks(self.study)]

    @property
    def tables(self) -> dict[str, Columns]:
        left_out: set[str] = set() if self.wanted.stability else {"stability", "repeats"}
        left_out |= set() if self.wanted.search else {"search"}
        return {name: columns for name, columns in TABLES.items() if name not in left_out}

    def waves(self, todo: Sequence[Task]) -> list[list[Task]]:
        controls = [task for task in todo if task.variant in self._controls]
        return [[task for task in todo if task.variant not in self._controls], controls]

    @cached_property
    def _controls(self) -> dict[str, lime_section.Segmentation]:
        return {at_random(one): one for one in self.wanted.segmentations}

    def compute(self, task: Task, progress: Progress) -> TaskResult:
        if task.variant in self._controls:
            return self._control(task)
        classifier, crop, _ = self.context.seen(task)
        target = self.context.ranked(task.classifier, task.file)[0]
        others = {searched(one): one for one in self.wanted.segmentations}
        segmentation = others.get(task.variant, self.wanted.segmentation)
        segments = superpixels(crop, segmentation, self.wanted.seed)
        compute = self._repeat if task.variant == STABILITY else self._judge
        return compute(task, mask(classifier, crop, segments, target), progress)

    def _neighbourhoods(
        self, task: Task, masked: MaskedImage, progress: Progress, seeds: int, samples: int
    ) -> list[lime.Neighbourhood]:
        first = self.wanted.seed
        return lime.neighbourhoods(
            self.context.networks[task.classifier],
            [masked] * seeds,
            self.wanted.model_copy(update={"samples": samples}),
            progress.advance,
            self.context.settings(task.classifier),
            range(first, first + seeds),
        )

    def _repeat(self, task: Task, masked: MaskedImage, progress: Progress) -> TaskResult:
        """The probabilities of all draws; the draws themselves follow from the seeds."""
        assert self.wanted.stability is not None
        seeds, samples = self.wanted.stability.seeds, self.wanted.stability.samples
        found = self._neighbourhoods(task, masked, progress, seeds, samples)
        count, settings = masked.count, self.context.settings(task.classifier)
        return TaskResult(
            {"probabilities": np.stack([one.probabilities for one in found])},
            {"superpixels": count, "settings": settings.facts()},
        )

    def _judge(self, task: Task, masked: MaskedImage, progress: Progress) -> TaskResult:
        """LIME with another segmentation: its models, and how they hold, for all numbers asked."""
        assert self.wanted.search is not None
        wanted, width = self.wanted.search, self.wanted.kernel_width
        settings = self.context.settings(task.classifier)
        start = time.perf_counter()
        around = self._neighbourhoods(task, masked, progress, wanted.seeds, wanted.samples[-1])
        models = [
            [lime.linear_model(one, width, samples) for samples in wanted.samples] for one in around
        ]
        seconds = (time.perf_counter() - start) / wanted.seeds
        sets = [
            top_superpixels(model.weights, features)
            for row in models
            for model in row
            for features in wanted.features
        ]
        classifier = self.context.networks[task.classifier]
        found = fidelities(classifier, masked, sets, settings)
        shape = (wanted.seeds, len(wanted.samples), len(wanted.features))
        return TaskResult(
            {
                "segments": masked.segments,
                "weights": np.array([[model.weights for model in row] for row in models]),
                "r_squared": np.array([[model.r_squared for model in row] for row in models]),
                "p_kept": np.array([one.p_kept for one in found]).reshape(shape),
                "p_removed": np.array([one.p_removed for one in found]).reshape(shape),
            },
            {"p_original": found[0].p_original, "seconds": seconds, "settings": settings.facts()},
        )

    def _control(self, task: Task) -> TaskResult:
        """As many superpixels as LIME chose, drawn at random: what the class keeps with them."""
        classifier, crop, _ = self.context.seen(task)
        segments, sizes = self._chosen(task)
        count = int(segments.max()) + 1
        generator = np.random.default_rng(self.wanted.seed)
        orders = [generator.permutation(count) for _ in range(DRAWS)]
        sets = [order[:size].tolist() for size in sizes for order in orders]
        target = self.context.ranked(task.classifier, task.file)[0]
        settings = self.context.settings(task.classifier)
        found = fidelities(classifier, mask(classifier, crop, segments, target), sets, settings)
        shares, shape = _shares(segments), (len(sizes), DRAWS)
        return TaskResult(
            {
                "sizes": np.array(sizes),
                "p_kept": np.reshape([one.p_kept for one in found], shape),
                "p_removed": np.reshape([one.p_removed for one in found], shape),
                "area": np.reshape([float(shares[chosen].sum()) for chosen in sets], shape),
            },
            {"settings": settings.facts()},
        )

    def _chosen(self, task: Task) -> tuple[Segments, list[int]]:
        """An image's superpixels, and how many of them LIME chose: each number once."""
        segmentation, search = self._controls[task.variant], self.wanted.search
        sizes: set[int] = set()
        if segmentation == self.wanted.segmentation:
            found = self.store.read_task(f"{task.classifier}/lime/{task.file}")
            sizes |= {int(row["superpixels"]) for row in found.facts["fidelity"].values()}
        if search and segmentation in search.segmentations:
            way = f"lime.{searched(segmentation)}"
            found = self.store.read_task(f"{task.classifier}/{way}/{task.file}")
            by_samples = found.arrays["weights"].swapaxes(0, 1)  # [samples, seeds, superpixels]
            sizes |= {
                _mean_size([top_superpixels(model, features) for model in models])
                for models in by_samples
                for features in search.features
            }
        return found.arrays["segments"], sorted(sizes)

    # --- tables ----------------------------------------------------------------------------------

    def rows(self) -> Rows:
        for network in self.context.classifiers:
            for file, image in self.context.explained.items():
                about = {"classifier": network, "image": image.name}
                for name, found in self._rows(network, file):
                    yield name, (about | row for row in found)

    def _rows(self, network: str, file: str) -> Rows:
        """Each table's rows about one image."""
        task = self.store.read_task(f"{network}/lime/{file}")
        facts, weights = task.facts, task.arrays["weights"]
        probability = float(self.context.probabilities(network, file)[facts["target"]])
        of_model = ("target", "intercept", "r_squared", "local_prediction")
        model = {name: facts[name] for name in of_model} | {
            "superpixels": len(weights),
            "samples": self.wanted.samples,
            "probability": probability,
            "reason": facts.get("fit_reason", ""),
        }
        yield "lime", [model]
        shares = _shares(task.arrays["segments"])
        rows: list[Row] = [
            {"superpixel": index, "weight": float(weight), "share": float(share)}
            for index, (weight, share) in enumerate(zip(weights, shares, strict=True))
        ]
        yield "superpixels", rows
        rows = []
        for rule, positive_only in KEPT.items():
            chosen = top_superpixels(weights, self.wanted.features, positive_only=positive_only)
            row = {"rule": rule, "p_original": probability, "area": float(shares[chosen].sum())}
            drawn = self._drawn(network, self.wanted.segmentation, file, len(chosen))
            rows.append(row | facts["fidelity"][rule] | drawn)
        yield "fidelity", rows
        if self.wanted.stability:
            yield from self._stability(network, file, self.wanted.stability)
        for segmentation in self.wanted.segmentations[1:]:
            yield "search", self._search(network, file, segmentation)

    def _stability(self, network: str, file: str, again: lime_section.Stability) -> Rows:
        task = self.store.read_task(f"{network}/lime.{STABILITY}/{file}")
        count, features = int(task.facts["superpixels"]), self.wanted.features
        parts = [
            lime.Neighbourhood(draw(again.samples, count, seed), probabilities)
            for seed, probabilities in enumerate(task.arrays["probabilities"], self.wanted.seed)
        ]
        rows: list[Row] = []
        for samples in again.sample_sizes:
            runs = lime.pooled(parts, samples)
            models = [lime.linear_model(run, self.wanted.kernel_width) for run in runs]
            best = [top_superpixels(model.weights, features) for model in models]
            rows.append(
                {
                    "samples": samples,
                    "runs": len(runs),
                    "jaccard": mean_jaccard(best),
                    "jaccard_chance": _chance(best, count),
                    "relative_std": relative_std(np.stack([model.weights for model in models])),
                    "r_squared": float(np.mean([model.r_squared for model in models])),
                }
            )
        yield "stability", rows
        models = [lime.linear_model(part, self.wanted.kernel_width) for part in parts]
        weights = np.stack([model.weights for model in models])
        best = [top_superpixels(row, features) for row in weights]
        chosen = np.bincount(np.concatenate(best).astype(int), minlength=count) / len(best)
        columns = zip(weights.mean(axis=0), weight_std(weights), chosen, strict=True)
        rows = [
            {"superpixel": index, "mean": float(mean), "std": float(std), "chosen": float(share)}
            for index, (mean, std, share) in enumerate(columns)
        ]
        yield "repeats", rows

    def _search(
        self, network: str, file: str, segmentation: lime_section.Segmentation
    ) -> list[Row]:
        """One row for each number of samples and of kept superpixels."""
        assert self.wanted.search is not None
        task = self.store.read_task(f"{network}/lime.{searched(segmentation)}/{file}")
        arrays, segments = task.arrays, task.arrays["segments"]
        shares = _shares(segments)
        about = {
            "segmentation": segmentation_key(segmentation),
            "method": segmentation.method,
            "superpixels": len(shares),
            "p_original": task.facts["p_original"],
        }
        rows: list[Row] = []
        for row, samples in enumerate(self.wanted.search.samples):
            for column, features in enumerate(self.wanted.search.features):
                best = [top_superpixels(weights[row], features) for weights in arrays["weights"]]
                found = {
                    "samples": samples,
                    "features": features,
                    "r_squared": float(arrays["r_squared"][:, row].mean()),
                    "jaccard": mean_jaccard(best),
                    "jaccard_chance": _chance(best, len(shares)),
                    "p_kept": float(arrays["p_kept"][:, row, column].mean()),
                    "p_removed": float(arrays["p_removed"][:, row, column].mean()),
                    "area": float(np.mean([shares[chosen].sum() for chosen in best])),
                    "off_centre": float(np.mean([_off_centre(segments, one) for one in best])),
                }
                drawn = self._drawn(network, segmentation, file, _mean_size(best))
                rows.append(about | found | drawn)
        return rows

    def _drawn(
        self, network: str, segmentation: lime_section.Segmentation, file: str, size: int
    ) -> Row:
        """What so many random superpixels of an image keep: the means over all draws."""
        arrays = self.store.read_task(f"{network}/lime.{at_random(segmentation)}/{file}").arrays
        (row,) = np.flatnonzero(arrays["sizes"] == size)
        names = ("p_kept", "p_removed", "area")
        return {f"{name}_random": float(arrays[name][row].mean()) for name in names}


def _shares(segments: np.ndarray) -> np.ndarray:
    """The share of the frame that each superpixel covers."""
    return np.bincount(segments.ravel()) / segments.size


def _mean_size(chosen: Sequence[Sequence[int]]) -> int:
    """How many superpixels some explanations choose, on average and rounded."""
    return round(float(np.mean([len(one) for one in chosen])))


def _chance(runs: list[list[int]], superpixels: int) -> float:
    """The Jaccard index of random choices as large as these are on average."""
    return chance_jaccard(_mean_size(runs), superpixels)


def _off_centre(segments: np.ndarray, chosen: list[int]) -> float:
    """How far the chosen superpixels' centre of mass lies from the frame's, in its width."""
    row, column = centre_of_mass(np.isin(segments, chosen).astype(np.float64))
    return float(np.hypot(row - 0.5, column - 0.5))
