"""Tables about the report itself: its sources, its studies, its software."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown

from vitrine.data.sources import load_sources
from vitrine.errors import ResultsError, StudyError
from vitrine.external.study import is_import_study, load_import_study
from vitrine.project import Project
from vitrine.report.findings import Finding, absent
from vitrine.report.page import block
from vitrine.report.study_report import StudyReport
from vitrine.report.tables import table
from vitrine.report.text import listing, safe
from vitrine.store import Store
from vitrine.study import load_study, study_names


def sources_table() -> Markdown:
    """Where files from outside come from, and under which licence."""
    rows = [
        (source.title, source.owner, source.used_for, source.licence)
        for source in load_sources(Project.find()).values()
    ]
    return table(pd.DataFrame(rows, columns=["Source", "Owner", "Used for", "Licence"]), "sources")


def used_sources(study: StudyReport) -> Markdown:
    """The sources of which a study takes files, as a list; nothing where it takes none."""
    told = study.provenance
    asked = told["study"]
    dissection = asked.get("dissection") or {}
    images = [asked, asked.get("large_sample") or {}, dissection]
    named = {(part.get("images") or {}).get("source") for part in images}
    keys = {*told["networks"], dissection.get("concepts")}
    keys.add((dissection.get("encoder") or {}).get("name"))
    used = [
        f"- **{safe(source.title)}**, {safe(source.owner)} (licence: {safe(source.licence)})"
        for source in load_sources(Project.find()).values()
        if source.name in named or keys & {*source.brings}
    ]
    return block(*(["From outside the study takes:", "\n".join(used)] if used else []))


def studies_table(*names: str) -> Markdown:
    """Studies, all by default, and when each was computed here; what is wrong with a file."""
    project = Project.find()
    rows = [_study_row(project, name) for name in names or study_names(project)]
    shown = pd.DataFrame(rows, columns=["Study", "What it is", "Computed"])
    return table(shown, "study" if names else "studies")


def _study_row(project: Project, name: str) -> tuple[str, str, str]:
    try:
        load = load_import_study if is_import_study(project, name) else load_study
        study = load(project, name)
    except StudyError as error:
        return name, f"Its file cannot be read: {error.problem}", "not run here"
    try:
        store = Store(project, name)
        computed = store.provenance()["computed"] if store.is_finished() else "not run here"
    except ResultsError as error:
        computed = f"not readable: {error.problem}"
    return study.title, study.description, computed


def software(study: StudyReport) -> Finding:
    """The packages that computed a study, with their versions."""
    packages = {"vitrine": study.provenance["vitrine"]} | study.provenance["packages"]
    return Finding("", f"Software: {listing(' '.join(pair) for pair in packages.items())}.")


def networks_of(study: StudyReport) -> list[Mapping[str, Any]]:
    """What the provenance says of each network: the explained ones, then the dissected ones."""
    dissected = (study.provenance.get("dissection") or {}).get("classifiers") or []
    rows = [*study.provenance["classifiers"], *dissected]
    return list({row["name"]: row for row in reversed(rows)}.values())[::-1]


def networks_list(study: StudyReport) -> Markdown:
    """Each network of a study: its paper, training set, weights, licence, input, parameters."""
    return block("\n".join(f"- {_network(row)}" for row in networks_of(study)))


def _network(row: Mapping[str, Any]) -> str:
    papers = "; ".join(f"@{key}" for key in row.get("paper") or ())
    name = f"**{safe(row['title'])}**{f' [{papers}]' if papers else ''}"
    weights = str(row.get("weights_from") or row.get("weights") or "")
    licence = f" (licence: {safe(row['licence'])})" if row.get("licence") else ""
    height, width = row["input"]
    said = [
        f"{name}, trained on {safe(row['training_set'])}.",
        f"Weights: {safe(weights)}{licence}." if weights else "",
        f"Input: {height} × {width} pixels.",
        f"{safe(row['preprocessing'])}." if row.get("preprocessing") else "",
        f"SHA-256 of the parameters: `{row['sha256'][:16]}`…" if row.get("sha256") else "",
    ]
    return " ".join(part for part in said if part)


def encoder(study: StudyReport) -> Finding:
    """How the dissection places images and words."""
    found = (study.provenance.get("dissection") or {}).get("encoder")
    if not found:
        return absent("This study has no network dissection, and so no encoder.")
    row = found if isinstance(found, Mapping) else {"name": found}
    title = str(row.get("title") or row.get("name"))
    more = [str(row[key]) for key in ("model", "pretrained", "weights") if row.get(key)]
    brackets = f" ({', '.join(more)})" if more else ""
    return Finding("", f"Images and words are placed by the encoder {title}{brackets}.")


def speed(study: StudyReport) -> Finding:
    """How the passes of the shown network ran."""
    asked = (study.provenance.get("passes") or {}).get(study.classifier)
    if not asked:
        return absent("The provenance does not say how the passes of this study ran.")
    layout = "channels last" if asked.get("channels_last") else "channels first"
    folded = ", batch normalisation folded into the convolutions" if asked.get("folded") else ""
    memory = "keeps" if asked.get("keep_memory") else "gives back"
    text = (
        f"The passes of this study ran in batches of {asked['batch']}, with images and weights "
        f"{layout}{folded} and an allocator that {memory} memory."
    )
    if asked.get("engine") == "openvino":
        text = (
            f"The passes without gradients ran on OpenVINO in batches of {asked['batch']}, each "
            "network's logits compared with PyTorch's before."
        )
    return Finding("", text)


def cost_table(study: StudyReport) -> Markdown:
    """What an image costs by each method: passes, passes of the head, seconds."""
    costs = study.table("costs")
    titles = study.method_titles
    by_method = costs[costs["method"].isin(titles)].groupby("method", sort=False)
    cost = by_method.agg(
        passes=("passes", "median"),
        head=("head_passes", "median"),
        seconds=("seconds", "median"),
        most=("seconds", "max"),
    ).reset_index()
    cost["method"] = cost["method"].map(titles)
    headings = {
        "method": "Method",
        "passes": "Passes",
        "head": "Of the head",
        "seconds": "Seconds (median)",
        "most": "Seconds (most)",
    }
    whole = {"passes": "{:,.0f}".format, "head": "{:,.0f}".format}
    return table(cost, "seconds", headings=headings, formats=whole | {"seconds": 3, "most": 3})


def images_table(study: StudyReport) -> Markdown:
    """The images of a study, each with the SHA-256 of its file."""
    headings = {"name": "Image", "wnid": "WordNet id", "file": "File", "sha256": "SHA-256"}
    rows = pd.DataFrame(study.provenance["images"]).reindex(columns=list(headings)).fillna("")
    if not rows["wnid"].any():
        rows = rows.drop(columns="wnid")
    return table(
        rows, "images", headings=headings, formats={"sha256": lambda digest: f"{digest[:12]}…"}
    )
