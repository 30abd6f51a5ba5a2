"""Network dissection: which concepts the units of a network's layers respond to."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch

from vitrine.data import concept_categories as kinds
from vitrine.data import image_sets, sources
from vitrine.data.images import Image, pixels_digest, read_image
from vitrine.experiments.base import (
    Context,
    Piece,
    Progress,
    Rows,
    Task,
    classifier_facts,
)
from vitrine.experiments.dissection_inputs import (
    PROBING_SET,
    DissectionInputs,
    concept_list,
    probing_paths,
)
from vitrine.experiments.dissection_tables import (
    RUNNERS_UP,
    TABLES,
    concept_table,
    image_table,
    layer_table,
    unit_table,
)
from vitrine.measures.labels import class_cosines, class_table
from vitrine.methods.dissection import activations as dissection
from vitrine.methods.dissection import embeddings, encoders, probing_size, unit_records
from vitrine.methods.dissection import labels as concept_labels
from vitrine.methods.dissection import null as nulls
from vitrine.methods.dissection.activations import Activations, merge
from vitrine.methods.dissection.embeddings import Embeddings
from vitrine.methods.dissection.labels import Labels
from vitrine.methods.dissection.null import Null
from vitrine.methods.dissection.similarity import Matches, check_top, pick_similarity
from vitrine.models.inference import keep_memory
from vitrine.models.own import architecture_of
from vitrine.store import TaskResult

PASSES_A_ROUND = 10
"""Labelling the units of a layer once takes about as long as this many forward passes,"""

PASSES_A_THOUSAND_DRAWS = 40
"""drawing a thousand units without a concept, for all layers, as long as these,"""

PASSES_A_PART = 2
"""and labelling a sample of them from a part of the probing set as long as these."""

PASSES_OF_TEXTS = 25
"""Embedding as many texts as an encoder takes at once likewise."""

MOST_PARTS = 64
"""Into so many parts, of whole batches, a probing set is divided."""


class DissectionExperiment(DissectionInputs):
    """A study's dissection, ready to be computed: everything it needs has been looked at.

    Raises ``StudyError``, ``SourceError``, ``ImageError`` or ``DissectionError``.
    """

    TABLES = TABLES

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        project, wanted = context.project, self.wanted
        self.networks = {row.name: context.networks[row.name] for row in wanted.classifiers}
        self.concepts = concept_list(project, wanted)
        self.kinds = kinds.load_kinds(project)
        self.similarity = pick_similarity(wanted.similarity, **wanted.parameters)
        self.paths = probing_paths(project, wanted)
        self.files = tuple(self.paths)
        self.top = self.similarity.top_of(len(self.files))
        check_top(self.top, len(self.files))
        _, first = next(self._images(0, 1))
        self.units = {
            name: dissection.check_layers(network, self.layers(name), first, wanted.pooling)
            for name, network in self.networks.items()
        }
        self.encoder = encoders.pick_encoder(wanted.encoder.name).load(
            project, wanted.encoder, context.device
        )
        self._last_pass: tuple[str, dict[str, Activations]] | None = None

    def layers(self, classifier: str) -> tuple[str, ...]:
        """The layers that are dissected: the study's, or the network's own stages."""
        return self.wanted.layers or self.networks[classifier].stages

    # --- the probing set -------------------------------------------------------------------------

    def _images(self, start: int, stop: int) -> Iterator[tuple[int, Image]]:
        """Images with their positions, read when they are asked for."""
        for place in range(start, stop):
            yield place, read_image(self.paths[self.files[place]])

    @property
    def _digests(self) -> list[str]:
        """The file and the digest of every image."""
        known = self.context.probing_digests
        if not known:
            known += [f"{file} {pixels_digest(path)}" for file, path in self.paths.items()]
        return known

    @property
    def _probing_digest(self) -> str:
        return hashlib.sha256("\n".join(self._digests).encode()).hexdigest()

    @property
    def _embedded(self) -> list[str]:
        """Everything that the embeddings of the images depend on."""
        return [self.encoder.identity, "images", *self._digests]

    @property
    def _embeddings(self) -> Embeddings | None:
        """Those of all images, if they are in the cache."""
        return embeddings.read_embeddings(self.context.project, self._embedded, len(self.files))

    # --- tasks -----------------------------------------------------------------------------------

    @property
    def tasks(self) -> list[Task]:
        """The tasks of every network: its labels, and the effect of the probing set's size."""
        found = []
        for name in self.networks:
            passes = len(self.files) + PASSES_A_ROUND * len(self.layers(name)) + self._null_passes
            found.append(Task(name, "dissection", "labels", passes, self._known(name, "labels")))
            if self.wanted.probing:
                passes = len(self.files) + PASSES_A_PART * len(self.layers(name)) * self._parts
                known = self._known(name, "probing")
                found.append(Task(name, "dissection", "probing", passes, known))
        return found

    def _known(self, name: str, part: str) -> dict[str, Any]:
        """Everything that a task's result depends on besides the network and the images."""
        known = {
            "layers": list(self.layers(name)),
            "concepts": self.concepts.digest,
            "encoder": self.encoder.identity,
            "pooling": self.wanted.pooling,
            "similarity": self.wanted.similarity,
            "parameters": self.similarity.parameters,
            "batch": self.wanted.batch,
            "revision": [dissection.REVISION, self.similarity.revision],
        }
        if part == "probing":
            assert self.wanted.probing is not None
            return known | {"probing": self.wanted.probing.model_dump(mode="json")}
        own = ("null_draws", "seed", "example_images")
        known |= {key: getattr(self.wanted, key) for key in own}
        return known | {"null": nulls.REVISION, "records": unit_records.REVISION}

    @property
    def _null_passes(self) -> int:
        """The work of drawing the null distributions of a network's layers, in forward passes."""
        return PASSES_A_THOUSAND_DRAWS * -(-self.wanted.null_draws // 1000)

    @property
    def _parts(self) -> int:
        """How often a sample of a layer's units is labelled for the probing set's size."""
        assert self.wanted.probing is not None
        return probing_size.probing_rounds(
            self.wanted.probing.sizes,
            self.wanted.probing.draws,
            len(self.files),
            len(probing_size.rules_of(self.similarity)),
        )

    def digests(self, task: Task) -> tuple[str, str]:
        return self.networks[task.classifier].digest, self._probing_digest

    def describe(self, task: Task) -> str:
        return f"dissection · {task.file} of {self.networks[task.classifier].title}"

    def preparation(self, todo: Sequence[Task]) -> int:
        batches = -(-len(self.concepts.words) // embeddings.TEXTS_AT_ONCE)
        return PASSES_OF_TEXTS * batches + len(self.files) if todo else 0

    def prepare(self, progress: Progress) -> None:
        """The embeddings of the concepts; those of the images are in the cache already."""
        progress.step(f"embeddings · {len(self.concepts.words)} concepts")
        self._texts(lambda _: progress.advance(PASSES_OF_TEXTS))

    def _texts(self, done: embeddings.OnTexts = lambda _: None) -> Embeddings:
        return embeddings.text_embeddings(self.context.project, self.encoder, self.concepts, done)

    @cached_property
    def _matches(self) -> Matches:
        images = self._embeddings
        assert images is not None
        return Matches(torch.from_numpy(images), torch.from_numpy(self._texts()))

    def pieces(self, task: Task | None) -> list[Piece]:
        """The probing set in parts: to be encoded, or passed through a task's network."""
        count, batch = len(self.files), self.wanted.batch
        step = batch * -(-count // (batch * MOST_PARTS))  # whole batches, however it is divided
        spans = [(start, min(start + step, count)) for start in range(0, count, step)]
        if task is None:
            if self._embeddings is not None:
                return []
            about = f"embeddings · {len(self.files)} images"
            return [Piece(about, "encoded", (start, end), end - start) for start, end in spans]
        if self._last_pass and self._last_pass[0] == task.classifier:
            return []
        about, name = self.describe(task), task.classifier
        return [Piece(about, "passed", (name, start, end), end - start) for start, end in spans]

    def encoded(self, start: int, stop: int) -> Embeddings:
        """The embeddings of some images of the probing set, one batch after the other."""
        ends = [*range(start, stop, self.wanted.batch), stop]
        batches = ([image for _, image in self._images(*span)] for span in pairwise(ends))
        return np.concatenate([self.encoder.encode_images(batch) for batch in batches])

    def passed(self, name: str, start: int, stop: int) -> dict[str, Activations]:
        """A pass of some images of the probing set through a network."""
        if self.study.speed is None or self.study.speed.keep_memory:
            keep_memory()
        return dissection.collect(
            self.networks[name],
            self.layers(name),
            self._images(start, stop),
            self.wanted.pooling,
            self._kept,
            self.wanted.batch,
            everything=self.similarity.everything or self.wanted.probing is not None,
        )

    def joined(self, first: Any, second: Any) -> Any:
        if isinstance(first, np.ndarray):
            return np.concatenate([first, second])
        return {layer: merge(first[layer], second[layer], self._kept) for layer in first}

    def take(self, task: Task | None, found: Any) -> None:
        if task is None:
            embeddings.write_embeddings(self.context.project, self._embedded, found)
        else:
            self._last_pass = (task.classifier, found)

    @property
    def _kept(self) -> int:
        """How many of the strongest images of each unit are kept."""
        return max(self.top, self.wanted.example_images)

    def compute(self, task: Task, progress: Progress) -> TaskResult:
        """One task's result, from the pass of the probing set through its network."""
        assert self._last_pass is not None
        compute = self._labels if task.file == "labels" else self._probing
        return compute(task.classifier, self._last_pass[1], self._matches, progress)

    # --- results ---------------------------------------------------------------------------------

    def _labels(
        self, name: str, activations: dict[str, Activations], matches: Matches, progress: Progress
    ) -> TaskResult:
        arrays: dict[str, np.ndarray] = {}
        start, seen = time.perf_counter(), self.networks[name].preprocessing
        labels = {}
        for layer, kept in activations.items():
            labels[layer] = concept_labels.label(
                kept, matches, self.similarity, count=RUNNERS_UP + 1
            )
            progress.advance(PASSES_A_ROUND)
        null = self._null(activations, matches, progress)
        for place, layer in enumerate(self.layers(name)):
            arrays |= _layer_arrays(
                place, activations[layer], labels[layer], null[layer], self.wanted.example_images
            )
            if names := self._classes(name, layer):
                arrays |= self._class_arrays(names, labels[layer])
        facts = {
            "layers": list(self.layers(name)),
            "seconds": time.perf_counter() - start,
            "cleaned": self.concepts.cleaned,
            # Where the maps lie: in the middle of the image's middle square, so large a part of it.
            "frame": seen.crop / seen.resize,
        }
        return TaskResult(arrays, facts)

    def _null(
        self, activations: dict[str, Activations], matches: Matches, progress: Progress
    ) -> dict[str, Null]:
        """The null distribution of each layer."""
        told = 0

        def part_done(done: int, whole: int) -> None:
            nonlocal told
            passes = self._null_passes * done // whole
            progress.advance(passes - told)
            told = passes

        return nulls.null_similarities(
            activations,
            matches,
            self.similarity,
            self.wanted.null_draws,
            self.wanted.seed,
            part_done,
        )

    def _classes(self, name: str, layer: str) -> tuple[str, ...]:
        """The names of the classes, where the layer's units are these."""
        network = self.networks[name]
        if layer != network.stages[-1] or self.units[name][layer] != len(network.categories):
            return ()
        return encoders.class_names(self.context.project, architecture_of(self.study, name))

    def _class_arrays(self, names: Sequence[str], labels: Labels) -> dict[str, np.ndarray]:
        """How alike each unit's label is to its class, and to the others' labels on average.

        names : of the classes, which are the units. ``nan`` for a unit that has no label.
        """
        used, places = np.unique(labels.concepts[:, 0].numpy(), return_inverse=True)
        words = self._sentences.encode_texts([self.concepts.words[place] for place in used])
        classes = encoders.name_embeddings(self.context.project, self._sentences, names)
        own, shuffled = class_cosines(classes, words[places], labels.silent.numpy())
        return {"cosine": own.astype(np.float32), "cosine_shuffled": shuffled.astype(np.float32)}

    @cached_property
    def _sentences(self) -> encoders.Sentences:
        return encoders.Sentences()

    def _probing(
        self, name: str, activations: dict[str, Activations], matches: Matches, progress: Progress
    ) -> TaskResult:
        probing = self.wanted.probing
        assert probing is not None
        found = {
            layer: probing_size.probing_effect(
                activations[layer],
                matches,
                self.similarity,
                **probing.model_dump(),
                progress=lambda: progress.advance(PASSES_A_PART),
            )
            for layer in self.layers(name)
        }
        draws = {layer: [asdict(draw) for draw in several] for layer, several in found.items()}
        return TaskResult({}, {"draws": draws})

    # --- tables and provenance -------------------------------------------------------------------

    def rows(self) -> Rows:
        for name in self.networks:
            arrays = self.store.read_task(f"{name}/dissection/labels").arrays
            for place, layer in enumerate(self.layers(name)):
                for table, found in self._layer_tables(name, place, layer, arrays):
                    rows = found.assign(classifier=name, layer=layer).to_dict("records")
                    yield table, rows  # type: ignore[misc]  # the names of columns are texts
            if self.wanted.probing:
                draws = self.store.read_task(f"{name}/dissection/probing").facts["draws"]
                for layer, drawn in draws.items():
                    about = {"classifier": name, "layer": layer}
                    yield "probing", [about | row for row in drawn]

    def _layer_tables(
        self, name: str, place: int, layer: str, arrays: dict[str, np.ndarray]
    ) -> Iterator[tuple[str, pd.DataFrame]]:
        words = self.concepts.words
        units = unit_table(place, arrays, words, self.kinds)
        yield "layers", layer_table(units, arrays, place)
        yield "units", units
        yield "top_images", image_table(units, arrays, place, self.files, self.wanted.examples)
        yield "concepts", concept_table(units)
        if names := self._classes(name, layer):
            yield (
                "classes",
                class_table(names, list(units["label"]), words).assign(
                    cosine=arrays["cosine"], cosine_shuffled=arrays["cosine_shuffled"]
                ),
            )

    def provenance(self) -> dict[str, Any]:
        """From what the dissection was computed."""
        source = self.wanted.images.source
        row = sources.pick_source(self.context.project, source) if source else None
        facts = {
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
                **encoders.pick_encoder(self.wanted.encoder.name).facts(self.wanted.encoder),
                "identity": self.encoder.identity,
            },
            "probing_set": {
                "source": row.url if row else str(self.wanted.images.folder),
                "images": len(self.files),
                "sha256": self._probing_digest,
                "left_out": image_sets.left_out(
                    self.context.project, self.wanted.images, PROBING_SET
                ),
            },
            "similarity": {
                "name": self.wanted.similarity,
                **self.similarity.facts,
            },
            "null_draws": self.wanted.null_draws,
        }
        return {"dissection": facts}


def _layer_arrays(
    place: int, kept: Activations, labels: Labels, null: Null, images: int
) -> dict[str, np.ndarray]:
    """What is stored of the layer at ``place``, for the tables and to look at its units."""
    known = null.similarities[null.similarities.isfinite()].numpy()
    spread = np.quantile(known, (0.5, 0.95)) if len(known) else np.full(2, np.nan)
    mean = known.mean(dtype=np.float64) if len(known) else np.nan
    assert kept.records is not None
    return kept.records.arrays(place) | {
        f"{place}_concepts": labels.concepts.numpy().astype(np.int32),
        f"{place}_similarities": labels.similarities.numpy(),
        f"{place}_p_values": nulls.p_values(labels.similarities[:, 0], null),
        f"{place}_constant": labels.silent.numpy(),
        f"{place}_null": spread.astype(np.float32),
        f"{place}_null_mean": np.array(mean, dtype=np.float32),
        f"{place}_null_draws": np.array(len(known), dtype=np.int64),
        f"{place}_images": kept.images[:, :images].numpy().astype(np.int32),
        f"{place}_activations": kept.values[:, :images].numpy(),
    }
