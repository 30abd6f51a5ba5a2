"""The dissection of a study: its steps, computing them, and the tables that come of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from vitrine import study
from vitrine.errors import StudyError
from vitrine.inputs import encoders, kinds, picture_sets, sources
from vitrine.inputs.classifiers import Classifier, pick_architecture
from vitrine.inputs.concepts import CONCEPT_LISTS, Concepts, concept_file, read_concepts
from vitrine.inputs.pictures import Picture, read_picture
from vitrine.methods import dissection
from vitrine.methods.dissection import Activations, Labels
from vitrine.methods.similarity import check_top, parameters_of, pick_similarity
from vitrine.project import Project
from vitrine.results import DISSECTION_SCHEMAS, Store, TaskResult
from vitrine.steps import Progress, Step

Embedded = tuple[torch.Tensor, torch.Tensor]
"""The embeddings of the pictures and of the concepts, ``float32 [n, d]`` each."""

CONSTANT = "(constant)"
"""In the place of a label for units that answer every picture alike."""

RUNNERS_UP = 5
SIGNIFICANT = 0.05

PASSES_A_ROUND = 10
"""Labelling the units of a layer once takes about as long as this many forward passes,"""

PASSES_A_PART = 2
"""and labelling a sample of them from a part of the probing set as long as these."""

PASSES_OF_TEXTS = 25
"""Embedding as many texts as an encoder takes at once likewise."""


def check(project: Project, wanted: study.Dissection) -> None:
    """Stop before work starts if the study names something that does not exist."""
    row = pick_similarity(wanted.similarity)
    parameters = parameters_of(wanted.similarity, wanted.parameters)
    dissection.pick_pooling(wanted.pooling)
    encoder = wanted.encoder
    encoders.pick_encoder(encoder.name).check(project, encoder)
    if encoder.name == "conse" and encoder.probabilities in [
        one.name for one in wanted.classifiers
    ]:
        raise StudyError(
            f"The encoder places pictures by the predictions of {encoder.probabilities!r}, which "
            "is dissected itself",
            "Set dissection.encoder.probabilities to another classifier",
        )
    if wanted.concepts not in CONCEPT_LISTS:
        _read_concepts(project, wanted)
    if wanted.probing and "top_fraction" in parameters:
        smallest = wanted.probing.sizes[0]
        if row.top(smallest, **parameters) < 2:
            raise StudyError(
                f"Of {smallest} pictures the similarity {wanted.similarity!r} looks at fewer than "
                "two, which have no order",
                "Raise dissection.probing.sizes or dissection.parameters.top_fraction",
            )


def files_of(project: Project, wanted: study.Dissection) -> tuple[str, ...]:
    """The files of the probing set, in the order of its positions. Raises ``StudyError``."""
    return picture_sets.files_of(project, wanted.pictures, "dissection.pictures")


def picture_paths(
    project: Project, wanted: study.Dissection, report: sources.Report = lambda _: None
) -> dict[str, Path]:
    """The probing set's pictures by file name: fetched from their source, or in their folder."""
    files = files_of(project, wanted)
    return picture_sets.paths_of(project, wanted.pictures, files, report)


def fetch(project: Project, wanted: study.Dissection, report: sources.Report) -> None:
    """Bring the probing set, the concept list and what decides about their kinds."""
    picture_paths(project, wanted, report)
    report(concept_file(project, wanted.concepts).name)
    kinds.load_kinds(project)
    report("kinds of concepts")
    encoders.pick_encoder(wanted.encoder.name).load(project, wanted.encoder, "cpu")
    report("encoder")


def fetched_files(project: Project, wanted: study.Dissection | None) -> int:
    """How many files ``fetch`` reports."""
    if wanted is None:
        return 0
    return 3 + (len(files_of(project, wanted)) if wanted.pictures.source is not None else 0)


def methods(wanted: study.Dissection) -> list[dict[str, str]]:
    """The methods with their titles, and the papers as keys of the bibliography."""
    row, encoder = pick_similarity(wanted.similarity), encoders.pick_encoder(wanted.encoder.name)
    return [
        {"name": "dissection", "title": f"CLIP-Dissect, {row.title}", "paper": row.paper},
        {"name": wanted.encoder.name, "title": encoder.title, "paper": encoder.paper},
    ]


def classifier_facts(classifier: Classifier) -> dict[str, Any]:
    """What the provenance says about a classifier."""
    return {
        "name": classifier.name,
        "title": classifier.title,
        "training_set": classifier.training_set,
        "weights": classifier.weights,
        "sha256": classifier.digest,
        "last_convolution": classifier.last_convolution,
        "input": list((classifier.preprocessing.crop,) * 2),
    }


def _read_concepts(project: Project, wanted: study.Dissection) -> Concepts:
    concepts = read_concepts(project, wanted.concepts)
    if len(concepts.words) <= RUNNERS_UP:
        raise StudyError(
            f"The concept list {wanted.concepts!r} has {len(concepts.words)} concepts, and a label "
            f"with its runners-up takes {RUNNERS_UP + 1}",
            "Take a longer list",
        )
    return concepts


class Dissector:
    """A study's dissection, ready to be computed: everything it needs has been looked at.

    Raises ``StudyError``, ``SourceError``, ``PictureError`` or ``DissectionError`` when something
    is wrong with the concepts, the probing set, the encoder or a layer of one of the networks.
    """

    def __init__(
        self,
        project: Project,
        wanted: study.Dissection,
        networks: dict[str, Classifier],
        device: str,
    ) -> None:
        self.project = project
        self.wanted = wanted
        self.networks = {row.name: networks[row.name] for row in wanted.classifiers}
        self.concepts = _read_concepts(project, wanted)
        self.kinds = kinds.load_kinds(project)
        self.similarity = pick_similarity(wanted.similarity)
        self.parameters = parameters_of(wanted.similarity, wanted.parameters)
        self.paths = picture_paths(project, wanted)
        self.files = tuple(self.paths)
        self.top = self.similarity.top(len(self.files), **self.parameters)
        check_top(self.top, len(self.files))
        first = read_picture(self.paths[self.files[0]])
        self.units = {
            name: dissection.check_layers(network, self.layers(name), first, wanted.pooling)
            for name, network in self.networks.items()
        }
        self.digests = [
            f"{file} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            for file, path in self.paths.items()
        ]
        self.pictures_digest = hashlib.sha256("\n".join(self.digests).encode()).hexdigest()
        self.encoder = encoders.pick_encoder(wanted.encoder.name).load(
            project, wanted.encoder, device
        )
        self._embedded: Embedded | None = None
        self._last_pass: tuple[str, dict[str, Activations]] | None = None

    def layers(self, classifier: str) -> tuple[str, ...]:
        """The layers that are dissected: the study's, or the network's own stages."""
        return self.wanted.layers or self.networks[classifier].stages

    # --- steps -----------------------------------------------------------------------------------

    @property
    def steps(self) -> list[Step]:
        """The steps of every network: its labels, and the effect of the probing set's size."""
        found = []
        for name in self.networks:
            rounds = len(self.layers(name)) * (1 + self.wanted.permutations)
            passes = len(self.files) + PASSES_A_ROUND * rounds
            found.append(Step(name, "dissection", "labels", passes, self._known(name, "labels")))
            if self.wanted.probing:
                passes = len(self.files) + PASSES_A_PART * len(self.layers(name)) * self._parts
                known = self._known(name, "probing")
                found.append(Step(name, "dissection", "probing", passes, known))
        return found

    def _known(self, name: str, part: str) -> dict[str, Any]:
        """Everything that a step's result depends on besides the network and the pictures."""
        known = {
            "layers": list(self.layers(name)),
            "concepts": self.concepts.digest,
            "encoder": self.encoder.identity,
            "pooling": self.wanted.pooling,
            "similarity": self.wanted.similarity,
            "parameters": self.parameters,
            "batch": self.wanted.batch,
            "revision": [dissection.REVISION, self.similarity.revision],
        }
        if part == "probing":
            assert self.wanted.probing is not None
            return known | {"probing": self.wanted.probing.model_dump(mode="json")}
        own = ("permutations", "seed", "example_pictures")
        return known | {key: getattr(self.wanted, key) for key in own}

    @property
    def _parts(self) -> int:
        """How often a sample of a layer's units is labelled for the probing set's size."""
        assert self.wanted.probing is not None
        return dissection.probing_rounds(
            self.wanted.probing.sizes,
            self.wanted.probing.draws,
            len(self.files),
            len(dissection.rules_of(self.similarity)),
        )

    @property
    def tables(self) -> set[str]:
        return set(DISSECTION_SCHEMAS)

    def seen(self, step: Step) -> tuple[str, str]:
        return self.networks[step.classifier].digest, self.pictures_digest

    def preparation(self, todo: list[Step]) -> int:
        return self._embeddings if todo else 0

    @property
    def _embeddings(self) -> int:
        """The work that comes before the steps, in forward passes: the embeddings."""
        batches = -(-len(self.concepts.words) // encoders.TEXTS_AT_ONCE)
        return PASSES_OF_TEXTS * batches + len(self.files)

    def compute(self, step: Step, progress: Progress) -> TaskResult:
        """One step's result; the pass through the network is shared by the steps that follow it."""
        if self._embedded is None:
            self._embedded = self._embed(progress)
        title = self.networks[step.classifier].title
        progress.step(f"dissection · activations of {title}")
        activations = self._activations(step.classifier, progress)
        progress.step(f"dissection · {step.file} of {title}")
        compute = self._labels if step.file == "labels" else self._probing
        return compute(step.classifier, activations, self._embedded, progress)

    def _embed(self, progress: Progress) -> Embedded:
        """The embeddings of pictures and concepts, ``float32 [n, d]`` each."""
        before = 0

        def pictures_done(count: int) -> None:
            nonlocal before
            before += count
            progress.advance(count)

        def texts_done(_count: int) -> None:
            nonlocal before
            before += PASSES_OF_TEXTS
            progress.advance(PASSES_OF_TEXTS)

        # Pictures first: what is wrong with one is told before the longer work.
        progress.step(f"embeddings · {len(self.files)} pictures")
        images = encoders.image_embeddings(
            self.project, self.encoder, self.digests, self._batches, pictures_done
        )
        progress.step(f"embeddings · {len(self.concepts.words)} concepts")
        texts = encoders.text_embeddings(self.project, self.encoder, self.concepts, texts_done)
        progress.advance(self._embeddings - before)
        return torch.from_numpy(images), torch.from_numpy(texts)

    def _batches(self) -> Iterator[list[Picture]]:
        for start in range(0, len(self.files), self.wanted.batch):
            files = self.files[start : start + self.wanted.batch]
            yield [read_picture(self.paths[file]) for file in files]

    def _activations(self, name: str, progress: Progress) -> dict[str, Activations]:
        if self._last_pass and self._last_pass[0] == name:
            progress.advance(len(self.files))
            return self._last_pass[1]
        found = dissection.collect(
            self.networks[name],
            self.layers(name),
            ((place, read_picture(path)) for place, path in enumerate(self.paths.values())),
            self.wanted.pooling,
            max(self.top, self.wanted.example_pictures),
            self.wanted.batch,
            everything=self.similarity.everything or self.wanted.probing is not None,
            progress=progress.advance,
        )
        self._last_pass = (name, found)
        return found

    # --- results ---------------------------------------------------------------------------------

    def _labels(
        self,
        name: str,
        activations: dict[str, Activations],
        embedded: Embedded,
        progress: Progress,
    ) -> TaskResult:
        arrays: dict[str, np.ndarray] = {}
        start = time.perf_counter()

        def round_done() -> None:
            progress.advance(PASSES_A_ROUND)

        for place, layer in enumerate(self.layers(name)):
            kept = activations[layer]
            given = (kept, *embedded, self.similarity, self.parameters)
            labels = dissection.label(*given, count=RUNNERS_UP + 1)
            round_done()
            null = dissection.null_similarities(
                *given, self.wanted.permutations, self.wanted.seed, round_done
            )
            arrays |= _layer_arrays(place, kept, labels, null, self.wanted.example_pictures)
            if self._is_classifier(name, layer):
                arrays |= self._class_arrays(name, labels)
        facts = {
            "layers": list(self.layers(name)),
            "seconds": time.perf_counter() - start,
            "cleaned": self.concepts.cleaned,
        }
        return TaskResult(arrays, facts)

    def _is_classifier(self, name: str, layer: str) -> bool:
        """Whether the layer's units are the classes."""
        network = self.networks[name]
        return layer == network.stages[-1] and self.units[name][layer] == len(network.categories)

    def _class_arrays(self, name: str, labels: Labels) -> dict[str, np.ndarray]:
        """How alike each unit's label is to its class, and to the others' labels on average.

        ``nan`` for a unit that has no label.
        """
        names = self._class_names(name)
        used, places = np.unique(labels.concepts[:, 0].numpy(), return_inverse=True)
        words = self._sentences.encode_texts([self.concepts.words[place] for place in used])
        classes = encoders.name_embeddings(self.project, self._sentences, names)
        cosines = classes @ words[places].T  # [classes, labels]
        silent = labels.silent.numpy()
        likeness = np.where(silent, np.nan, np.diagonal(cosines))
        sums = np.where(silent, 0, cosines).sum(axis=1)
        shuffled = (sums - likeness) / (len(names) - silent.sum() - 1)
        return {"likeness": likeness.astype(np.float32), "shuffled": shuffled.astype(np.float32)}

    def _class_names(self, name: str) -> tuple[str, ...]:
        return encoders.class_names(self.project, pick_architecture(name).training_set)

    @cached_property
    def _sentences(self) -> encoders.Sentences:
        return encoders.Sentences()

    def _probing(
        self,
        name: str,
        activations: dict[str, Activations],
        embedded: Embedded,
        progress: Progress,
    ) -> TaskResult:
        probing = self.wanted.probing
        assert probing is not None
        found = {
            layer: dissection.probing_effect(
                activations[layer],
                *embedded,
                self.similarity,
                self.parameters,
                probing.sizes,
                probing.draws,
                probing.units,
                probing.seed,
                lambda: progress.advance(PASSES_A_PART),
            )
            for layer in self.layers(name)
        }
        draws = {layer: [asdict(draw) for draw in several] for layer, several in found.items()}
        return TaskResult({}, {"draws": draws})

    # --- tables and provenance -------------------------------------------------------------------

    def write_tables(self, store: Store) -> None:
        """All tables from the stored tasks, so that they say what the store holds."""
        parts: dict[str, list[pd.DataFrame]] = {name: [] for name in DISSECTION_SCHEMAS}
        for name in self.networks:
            task = store.read_task(f"{name}/dissection/labels")
            for place, layer in enumerate(self.layers(name)):
                units = self._unit_table(name, layer, place, task)
                parts["units"].append(units)
                parts["layers"].append(_layer_table(units, task.arrays, place))
                parts["concepts"].append(_concept_table(units))
                parts["top_pictures"].append(self._picture_table(units, task.arrays, place))
                if self._is_classifier(name, layer):
                    parts["classes"].append(self._class_table(units, task.arrays))
            if self.wanted.probing:
                draws = store.read_task(f"{name}/dissection/probing").facts["draws"]
                for layer, rows in draws.items():
                    table = pd.DataFrame(rows)
                    parts["probing"].append(table.assign(classifier=name, layer=layer))
        for table_name, found in parts.items():
            columns = list(DISSECTION_SCHEMAS[table_name])
            whole = pd.concat(found) if found else pd.DataFrame(columns=columns)
            store.write_table(table_name, whole[columns])

    def _unit_table(self, name: str, layer: str, place: int, task: TaskResult) -> pd.DataFrame:
        concepts = task.arrays[f"{place}_concepts"]
        similarities = task.arrays[f"{place}_similarities"]
        words = np.array(self.concepts.words, dtype=object)[concepts]
        words[task.arrays[f"{place}_constant"]] = CONSTANT
        columns: dict[str, Any] = {
            "classifier": name,
            "layer": layer,
            "unit": np.arange(len(concepts)),
            "label": words[:, 0],
            "kind": [kinds.kind_of(word, self.kinds) for word in words[:, 0]],
            "similarity": similarities[:, 0],
            "p_value": task.arrays[f"{place}_p_values"],
        }
        for rank in range(1, RUNNERS_UP + 1):
            columns[f"runner_up_{rank}"] = words[:, rank]
            columns[f"runner_up_{rank}_similarity"] = similarities[:, rank]
        return pd.DataFrame(columns)

    def _picture_table(
        self, units: pd.DataFrame, arrays: dict[str, np.ndarray], place: int
    ) -> pd.DataFrame:
        """The strongest pictures of the example units: from the most similar to the least."""
        order = units["similarity"].to_numpy().argsort(kind="stable")[::-1]
        order = order[~arrays[f"{place}_constant"][order]]
        count = min(self.wanted.examples, len(order))
        chosen = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
        rows = [
            (unit, rank, self.files[picture], value)
            for unit in chosen
            for rank, (picture, value) in enumerate(
                zip(
                    arrays[f"{place}_pictures"][unit],
                    arrays[f"{place}_activations"][unit],
                    strict=True,
                ),
                start=1,
            )
        ]
        table = pd.DataFrame(rows, columns=["unit", "rank", "picture", "activation"])
        return table.assign(classifier=units["classifier"][0], layer=units["layer"][0])

    def _class_table(self, units: pd.DataFrame, arrays: dict[str, np.ndarray]) -> pd.DataFrame:
        names = self._class_names(units["classifier"][0])
        known = {word.lower() for word in self.concepts.words}
        single = [set(name.lower().split(", ")) for name in names]
        return pd.DataFrame(
            {
                "classifier": units["classifier"],
                "layer": units["layer"],
                "target": units["unit"],
                "category": names,
                "label": units["label"],
                "exact": [
                    label.lower() in own for label, own in zip(units["label"], single, strict=True)
                ],
                "listed": [bool(own & known) for own in single],
                "likeness": arrays["likeness"],
                "shuffled": arrays["shuffled"],
            }
        )

    def provenance(self) -> dict[str, Any]:
        """From what the dissection was computed."""
        return {"dissection": self._facts()}

    def _facts(self) -> dict[str, Any]:
        source = self.wanted.pictures.source
        row = sources.pick_source(self.project, source) if source else None
        return {
            "classifiers": [
                classifier_facts(network) | {"layers": self.units[name]}
                for name, network in self.networks.items()
            ],
            "concepts": {
                "name": self.concepts.name,
                "count": len(self.concepts.words),
                "cleaned": self.concepts.cleaned,
                "sha256": self.concepts.digest,
            },
            "encoder": {
                "name": self.wanted.encoder.name,
                "title": encoders.pick_encoder(self.wanted.encoder.name).title,
                "identity": self.encoder.identity,
            },
            "probing_set": {
                "source": row.url if row else str(self.wanted.pictures.folder),
                "pictures": len(self.files),
                "sha256": self.pictures_digest,
            },
            "similarity": {"name": self.wanted.similarity, "parameters": self.parameters},
        }


def _layer_arrays(
    place: int, kept: Activations, labels: Labels, null: torch.Tensor, pictures: int
) -> dict[str, np.ndarray]:
    values = dissection.p_values(labels.similarities[:, 0], null, kept.constant)
    known = null[~null.isnan()]
    spread = np.quantile(known.numpy(), (0.5, 0.95)) if len(known) else np.full(2, np.nan)
    return {
        f"{place}_concepts": labels.concepts.numpy().astype(np.int32),
        f"{place}_similarities": labels.similarities.numpy(),
        f"{place}_p_values": values,
        f"{place}_constant": labels.silent.numpy(),
        f"{place}_null": spread.astype(np.float32),
        f"{place}_null_mean": known.mean().numpy(),
        f"{place}_pictures": kept.pictures[:, :pictures].numpy().astype(np.int32),
        f"{place}_activations": kept.values[:, :pictures].numpy(),
    }


def _layer_table(units: pd.DataFrame, arrays: dict[str, np.ndarray], place: int) -> pd.DataFrame:
    live = units[~arrays[f"{place}_constant"]]
    significant = live[live["p_value"] < SIGNIFICANT]
    row = {
        "classifier": units["classifier"][0],
        "layer": units["layer"][0],
        "units": len(units),
        "constant": int(arrays[f"{place}_constant"].sum()),
        "significant": len(significant),
        "concepts": live["label"].nunique(),
        "significant_concepts": significant["label"].nunique(),
        "greatest": units["similarity"].max(),
        "mean": units["similarity"].mean(),
        "null_mean": float(arrays[f"{place}_null_mean"]),
        "null_95": float(arrays[f"{place}_null"][1]),
    }
    return pd.DataFrame([row])


def _concept_table(units: pd.DataFrame) -> pd.DataFrame:
    """A row for each label of a layer, the most frequent first."""
    live = units[units["label"] != CONSTANT]
    marked = live.assign(significant=live["p_value"] < SIGNIFICANT)
    grouped = marked.groupby("label", sort=True)
    table = pd.DataFrame(
        {
            "kind": grouped["kind"].first(),
            "units": grouped.size(),
            "significant": grouped["significant"].sum(),
            "mean": grouped["similarity"].mean(),
            "greatest": grouped["similarity"].max(),
        }
    )
    table = table.rename_axis("concept").reset_index()
    table = table.sort_values(["units", "concept"], ascending=[False, True], kind="stable")
    return table.assign(classifier=units["classifier"][0], layer=units["layer"][0])
