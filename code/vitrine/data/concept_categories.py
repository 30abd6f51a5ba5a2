"""What kind of thing a concept is: an object, a scene, a part, a texture, a material or a colour.

The rule, in this order; a word is also looked up in the singular:

1. the category of Broden (Bau, Zhou, Khosla, Oliva and Torralba, "Network Dissection", CVPR 2017)
   that the concept has in the published results of Network Dissection, which name for every unit
   the best concept of each category;
2. the name of an ImageNet class, or the last word of one ("terrier"), is an object;
3. the name of a Places365 category, with or without what follows its comma, is a scene;
4. anything else is "other".

Where Broden gives a concept two categories, the one named first in ``KINDS`` holds.
"""

import csv
import re

from vitrine.data import sources
from vitrine.data.concepts import CONCEPT_SOURCE, read_concepts
from vitrine.project import Project

KINDS = ("object", "scene", "part", "texture", "material", "color", "other")


def load_kinds(project: Project) -> dict[str, str]:
    """The kind of every concept that has one, by its lower-case name. Raises ``SourceError``."""
    broden = _broden(project)
    objects, scenes = set(), set()
    for line in read_concepts(project, "imagenet").words:
        for name in line.lower().split(", "):
            objects |= {name, name.split(" ")[-1]}
    for line in read_concepts(project, "places365").words:
        name = line.lower().split(", ")[0]
        scenes |= {name, line.lower().replace(", ", " ")}
    named = dict.fromkeys(scenes, "scene") | dict.fromkeys(objects, "object")
    return named | broden


def kind_of(concept: str, kinds: dict[str, str]) -> str:
    """The kind of a concept, in the singular where the plural has none; ``"other"`` otherwise."""
    word = concept.lower()
    for form in (word, *singulars(word)):
        if form in kinds:
            return kinds[form]
    return "other"


def _broden(project: Project) -> dict[str, str]:
    """Broden's category of each concept, from the published results of Network Dissection."""
    found: dict[str, str] = {}
    listed = sources.pick_source(project, CONCEPT_SOURCE).digests
    results = [file for file in listed if file.startswith("NetDissect_results/")]
    paths = sources.fetch(project, CONCEPT_SOURCE, results)
    for kind in reversed(KINDS[:-1]):
        for path in paths.values():
            with path.open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream):
                    if name := plain(row.get(f"{kind}-label") or ""):
                        found[name] = kind
    return found


def plain(label: str) -> str:
    """Broden's name of a concept in words: ``"game_room-s"`` is a game room."""
    return re.sub(r"-[sc]$", "", label).replace("_", " ").replace("-", " ").strip().lower()


def singulars(word: str) -> list[str]:
    """What an English plural may be the plural of."""
    forms = []
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        forms.append(word[:-1])
    return forms
