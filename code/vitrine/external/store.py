"""The store of a study of imported runs: its tables, and the maps that it keeps."""

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vitrine.data.images import Frame
from vitrine.measures.labels import CLASS_COLUMNS
from vitrine.methods.heatmap import frame_from
from vitrine.project import Project
from vitrine.store import Store

IMPORT_SCHEMAS: dict[str, dict[str, str]] = {
    "labels": {
        "run": "key of the run",
        "layer": "name of the layer",
        "unit": "number of the unit in the layer, from 0",
        "label": "what the run says of the unit: a word, or a sentence",
        "kind": "object, scene, part, texture, material, color or other; empty for sentences",
        "score": "the run's own measure: similarity (CLIP-Dissect) or IoU (Network Dissection)",
    },
    "label_classes": {
        "run": "key of the run",
        "layer": "name of the classifier layer",
        **CLASS_COLUMNS,
    },
    "label_examples": {
        "first": "key of the first run",
        "second": "key of the second run, about the same network",
        "layer": "name of the layer",
        "unit": "number of a unit whose two labels are among the most or the least alike there",
        "same": "1 if the labels are the same in words, or one occurs in the other's sentence",
        "cosine": "cosine of the sentence embeddings of the two labels",
    },
    "label_agreement": {
        "first": "key of the first run",
        "second": "key of the second run, about the same network",
        "layer": "name of the layer",
        "units": "units that both runs label",
        "same": "share of them whose labels are the same in words",
        "same_by_chance": "that share between each unit and all others",
        "cosine": "mean cosine of the sentence embeddings of the two labels",
        "cosine_25": "25% quantile of that cosine",
        "cosine_75": "75% quantile of it",
        "cosine_by_chance": "that mean between each unit and all others",
    },
    "regions": {
        "run": "key of the run",
        "image": "name of the image",
        "height": "height of the map in its own frame, in pixels",
        "width": "width of it",
        "marked": "share of its frame that is not zero",
        "area_half_max": "share of its frame above half of its maximum",
        "object": "share of its frame that shows the object; empty where no outline was drawn",
        "inside": "share of its positive weight that lies on the object",
    },
    "ious": {
        "first": "key of a run of regions",
        "second": "key of a run of heatmaps of the same network",
        "image": "name of the image",
        "printed": "IoU of all that is not zero, both maps stretched to the larger size",
        "printed_first": "share of the image that the region covers then",
        "printed_second": "share of the image that the heatmap covers then",
        "printed_chance": "IoU of two independent regions of those shares",
        "printed_other_images": "mean of `printed` with the heatmaps of the other images",
        "framed": "IoU of all that is not zero, in the region's frame",
        "stretched": "IoU at equal area, the heatmap stretched to the region's size",
        "share": "share of its own frame that the region covers",
        "iou": "IoU at that area, in the region's frame",
        "iou_chance": "IoU of two independent regions of that share",
        "iou_other_images": "mean of `iou` with the heatmaps of the other images",
    },
}


class ImportStore(Store):
    """The results of a study of imported runs."""

    command: ClassVar[str] = "import"

    def map_in_frame(self, run: str, image: str) -> tuple[npt.NDArray[np.float32], Frame]:
        """A run's map ``[h, w]`` as it is kept, and its frame. Raises ``ResultsError``."""
        task = self.read_task(f"{run}/{self.files()[image]}")
        return task.arrays["values"].astype(np.float32), frame_from(task.facts["frame"])


def open_imported(project: Project, study: str) -> ImportStore:
    """The finished store of a study of imported runs. Raises ``ResultsError``."""
    store = ImportStore(project, study)
    store.provenance()
    return store
