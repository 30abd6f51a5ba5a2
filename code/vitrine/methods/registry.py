"""All methods that give an image a map, as one table."""

from collections import ChainMap
from collections.abc import MutableMapping
from typing import cast

from vitrine.errors import pick
from vitrine.methods.attribution import ATTRIBUTION_METHODS
from vitrine.methods.baselines import BASELINES
from vitrine.methods.cam import CAM_METHODS
from vitrine.methods.lime import LIME_METHODS
from vitrine.methods.method import Method
from vitrine.study import Study

_FAMILIES = (LIME_METHODS, CAM_METHODS, ATTRIBUTION_METHODS, BASELINES)

METHODS = ChainMap(*(cast(MutableMapping[str, Method], rows) for rows in _FAMILIES))
"""Every method's row by its key. A row stands beside the function that it names."""


def pick_method(name: str) -> Method:
    """The row of ``METHODS`` called ``name``. Raises ``StudyError``."""
    return pick(METHODS, name, "method")


def methods_of(study: Study) -> list[str]:
    """The methods that see the network and give each image of a study a map."""
    return [
        *(study.cam.methods if study.cam else ()),
        *(LIME_METHODS if study.lime else ()),
        *(study.attribution.methods if study.attribution else ()),
    ]
