"""Findings about regions outlined by hand, hidden and shown alone."""

from math import factorial, prod

import numpy as np
import pandas as pd

from vitrine.measures.association import within_groups
from vitrine.report.findings.finding import Finding, absent, absent_if
from vitrine.report.findings.sentences import quantity
from vitrine.report.parts import needs
from vitrine.report.regions import LARGE, MARGIN, lime_and_cam, occlusion, weights
from vitrine.report.study_report import StudyReport
from vitrine.report.text import count, listing, number, p_text, part_of, percent, plural

_FILLS = {
    "mean": "the region's own mean colour",
    "grey": "the mean colour of the network's training images",
    "blur": "the image, blurred",
}
"""What stands in a hidden region's place, by the name that the study file has for it."""

SEVERAL = 4
"""So many regions are named in a sentence; the table has them all."""

DECIDES = 0.5
"""Probabilities decide where they differ by more than this share of the whole image's."""

_LEVEL = 0.05


def _named(rows: pd.DataFrame) -> str:
    """Regions by their image, as in "the man, the dog (terrier); the reeds (coot)"; few of many."""
    left = len(rows) - SEVERAL if len(rows) > SEVERAL + 1 else 0
    regions: dict[str, list[str]] = {}
    for image, region in rows.index[: len(rows) - left]:
        regions.setdefault(str(image), []).append(str(region))
    named = [f"{', '.join(found)} ({image})" for image, found in regions.items()]
    return "; ".join([*named, *([f"{count(left)} more"] if left else [])])


def _part(rows: pd.DataFrame, table: pd.DataFrame) -> str:
    """How many of the regions some are: "four of 12 regions", "no region"."""
    return part_of(len(rows), len(table), "region") if len(rows) else "no region"


def _regions(rows: pd.DataFrame, table: pd.DataFrame, verb: str) -> str:
    """How many regions do something: "four of 12 regions lower", "no region lowers"."""
    return f"{_part(rows, table)} {verb}{'s' if len(rows) < 2 else ''}"


def _by_fills(table: pd.DataFrame) -> str:
    return "whatever the fill" if table["fills"].max() > 1 else "with the study's one fill"


def _controlled(study: StudyReport) -> pd.DataFrame:
    """The regions that have a control: those that are not nearly themselves elsewhere."""
    table = occlusion(study)
    table = table[table["area"] <= LARGE]
    absent_if(table.empty, "Every outlined region covers most of the frame, so none has a control.")
    return table


@needs("region_occlusion")
def filled_with(study: StudyReport) -> Finding:
    """What the study puts in a hidden region's place."""
    fills = list(dict.fromkeys(study.table("region_occlusion")["fill"]))
    named = [_FILLS.get(fill, fill) for fill in fills]
    text = f"What is hidden is replaced by {listing(named)}."
    if len(named) > 1:
        text += " Each is tried, and probabilities are means over them."
    return Finding("", text)


@needs("region_occlusion")
def below_control(study: StudyReport) -> Finding:
    """Which regions the prediction needs more than as much of the image elsewhere."""
    table, large = _controlled(study), occlusion(study).query("area > @LARGE")
    needed, spared = table[table["below"] == table["fills"]], table[table["below"] == 0]
    said = f"Counted are differences above {percent(MARGIN)} of the whole image's probability."
    if len(needed):
        said += f" This holds {_by_fills(table)} for {_named(needed)}."
    if len(spared):
        said += f" It holds with no fill for {_named(spared)}."
    if len(large):
        covers, its = ("covers", "its control") if len(large) == 1 else ("cover", "their controls")
        said += f" Not counted: {_named(large)}, which {covers} more than half of the frame "
        said += f"and would lie nearly where {its} would."
    lower = f"{_regions(needed, table, 'lower')} the prediction more than the same shape elsewhere"
    verdict = quantity(table["below"] == table["fills"])
    return Finding(f"Hidden one at a time, {lower}.", said, verdict)


@needs("region_occlusion")
def rises(study: StudyReport) -> Finding:
    """Which regions the prediction is more probable without."""
    table = occlusion(study)
    against = table[table["above"] == table["fills"]]
    partly = table[(table["above"] > 0) & (table["above"] < table["fills"])]
    always = _by_fills(table)
    raised = f"Hidden one at a time, {_regions(against, table, 'raise')} the prediction {always}."
    said = f"Counted are rises above {percent(MARGIN)} of the whole image's probability."
    said += f" They are found for {_named(against)}." if len(against) else ""
    said += f" With some fills, not all, they are found for {_named(partly)}." * bool(len(partly))
    return Finding(raised, said, "some" if len(against) else "none")


@needs("region_occlusion")
def fills(study: StudyReport) -> Finding:
    """For how many regions it matters what is put in their place."""
    table = occlusion(study)
    if table["fills"].max() < 2:
        return absent("Regions are hidden with one fill only, so fills cannot be compared.")
    apart = table["highest"] - table["lowest"]
    decided = table[apart > DECIDES * table["p_original"]]
    most = table.loc[[apart.idxmax()]]
    return Finding(
        f"What replaces a region matters for {_part(decided, table)}.",
        "Counted are those whose probability differs between fills by more than "
        f"{percent(DECIDES)} of that of the whole image. It differs most for {_named(most)}: "
        f"{percent(most['lowest'].iloc[0])} to {percent(most['highest'].iloc[0])}.",
        "some" if len(decided) else "none",
    )


@needs("region_occlusion")
def alone(study: StudyReport) -> Finding:
    """Which regions alone keep the prediction, and how many of their shape elsewhere do."""
    table = occlusion(study)
    small = table[table["area"] <= LARGE]
    enough = table[table["alone"] >= DECIDES * table["p_original"]]
    elsewhere = small[small["alone_control"] >= DECIDES * small["p_original"]]
    said = f"On average over fills this holds for {_named(enough)}. " if len(enough) else ""
    said += f"The same shape elsewhere does so for {_part(elsewhere, small)}"
    said += "." if len(small) == len(table) else f" of at most {percent(LARGE)} of the frame."
    keep = f"{_regions(enough, table, 'keep')} at least half of the prediction"
    return Finding(f"Shown alone, {keep}.", said, "some" if len(enough) else "none")


@needs("region_occlusion")
def weight_and_effect(study: StudyReport) -> Finding:
    """Whether hiding costs more where a map has more weight."""
    names = lime_and_cam(study)
    absent_if(not names, "This study has neither LIME nor a class activation map to compare with.")
    table = _controlled(study).join(weights(study))
    cost = table["control"] - table["without"]
    found: dict[str, tuple[float, float]] = {}
    few = False
    for method in names:
        known = table[method].notna()
        images = list(table.index.get_level_values("image")[known])
        more = (table[method] - table["area"])[known].to_numpy(dtype=float)
        result = within_groups(more, cost[known].to_numpy(), images) if images else (np.nan,) * 2
        if np.isfinite(result[0]):
            found[study.method_titles[method]] = result
            few |= prod(factorial(images.count(one)) for one in set(images)) < 2 / _LEVEL
    absent_if(not found, "No image has two regions to compare with a map's weight.")
    return _of_methods(found, few, len(table))


def _of_methods(found: dict[str, tuple[float, float]], few: bool, regions: int) -> Finding:
    each = [f"For {title} it is {number(r)} ({p_text(p)})." for title, (r, p) in found.items()]
    text = f"Over {plural(regions, 'region')} this is the correlation, within images, of the "
    text += "weight beyond the region's area with the loss beyond the control. " + " ".join(each)
    text += f" Corrected for {plural(len(found), 'test')}." * (len(found) > 1)
    if few:
        return Finding("", f"{text} So few regions cannot tell it from chance.", "too few")
    clear = {title: r for title, (r, p) in found.items() if p <= _LEVEL / len(found) and r}
    said, verdict = [], "undecided"
    for how, direction, sign in (("more", "larger", 1), ("less", "smaller", -1)):
        if titles := [title for title, r in clear.items() if r * sign > 0]:
            has = "has" if len(titles) == 1 else "have"
            said.append(f"{how} where {listing(titles)} {has} more weight")
            verdict = "mixed" if len(said) > 1 else direction
    if not said:
        headline = "Whether hiding costs more where a map has more weight is undecided."
        return Finding(headline, text, verdict)
    return Finding(f"Hiding a region costs {listing(said)}.", text, verdict)
