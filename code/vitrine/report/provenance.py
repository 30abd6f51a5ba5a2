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
from vitrine.report.text import listing, safe, trained_on
from vitrine.store import Store
from vitrine.study import load_study, study_names


def sources_table() -> Markdown:
    """Where files from outside come from, and under which licence."""
    sources = load_sources(Project.find()).values()
    rows = [(one.title, one.owner, one.used_for, one.licence) for one in sources]
    return table(pd.DataFrame(rows, columns=["Source", "Owner", "Used for", "Licence"]), "sources")


def used_sources(study: StudyReport) -> Markdown:
    """The sources of which a study takes files, as a list; nothing where it takes none."""
    told, asked = study.provenance, study.provenance["study"]
    dissection = study.parameters("dissection")
    images = [asked, study.parameters("large_sample"), dissection]
    named = {(part.get("images") or {}).get("source") for part in images}
    encoder = (dissection.get("encoder") or {}).get("name")
    keys = {*told["networks"], dissection.get("concepts"), encoder}
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


def networks_list(study: StudyReport) -> Markdown:
    """Each network of a study: its paper, training set, weights, licence, input, parameters."""
    rows = reversed([*study.provenance["classifiers"], *study.dissection.get("classifiers", [])])
    networks = reversed({row["name"]: row for row in rows}.values())
    return block("\n".join(f"- {_network(row)}" for row in networks))


def _network(row: Mapping[str, Any]) -> str:
    papers = "; ".join(f"@{key}" for key in row.get("paper") or ())
    name = f"**{safe(row['title'])}**{f' [{papers}]' if papers else ''}"
    weights = str(row.get("weights_from") or row.get("weights") or "")
    licence = f" (licence: {safe(row['licence'])})" if row.get("licence") else ""
    height, width = row["input"]
    said = [
        f"{name}, {safe(trained_on(row['training_set']))}.",
        f"Weights: {safe(weights)}{licence}." if weights else "",
        f"Input: {height} × {width} pixels.",
        f"{safe(row['preprocessing'])}." if row.get("preprocessing") else "",
        f"SHA-256 of the parameters: `{row['sha256'][:16]}`…" if row.get("sha256") else "",
    ]
    return " ".join(filter(None, said))


def encoder(study: StudyReport) -> Finding:
    """How the dissection places images and words."""
    row = study.dissection.get("encoder")
    if not row:
        return absent("This study has no network dissection, and so no encoder.")
    more = ", ".join(str(row[key]) for key in ("model", "pretrained", "weights") if row.get(key))
    title = f"{row['title']}{f' ({more})' if more else ''}"
    return Finding("", f"Images and words are placed by the encoder {title}.")


def speed(study: StudyReport) -> Finding:
    """How the passes of the shown network ran."""
    asked = (study.provenance.get("passes") or {}).get(study.classifier)
    if not asked:
        return absent("The provenance does not say how the passes of this study ran.")
    batches = f"in batches of {asked['batch']}"
    if asked.get("engine") == "openvino":
        text = f"The passes without gradients ran on OpenVINO {batches}, each network's logits "
        return Finding("", f"{text}compared with PyTorch's before.")
    layout = f"channels {'last' if asked.get('channels_last') else 'first'}"
    folded = ", batch normalisation folded into the convolutions" if asked.get("folded") else ""
    memory = "keeps" if asked.get("keep_memory") else "gives back"
    text = f"The passes of this study ran {batches}, with images and weights {layout}{folded} and "
    return Finding("", f"{text}an allocator that {memory} memory.")


def cost_table(study: StudyReport) -> Markdown:
    """What an image costs by each method: passes, passes of the head, seconds."""
    costs = study.table("costs")
    costs["method"] = costs["method"].map(study.method_titles)
    by_method = costs.groupby("method", sort=False)
    cost = by_method[["passes", "head_passes", "seconds"]].median()
    cost = cost.rename(columns={"head_passes": "head"}).assign(most=by_method["seconds"].max())
    headings = {"method": "Method", "passes": "Passes", "head": "Of the head"}
    headings |= {"seconds": "Seconds (median)", "most": "Seconds (most)"}
    whole = {"passes": "{:,.0f}".format, "head": "{:,.0f}".format}
    shown = cost.reset_index()
    return table(shown, "seconds", headings=headings, formats=whole | {"seconds": 3, "most": 3})


def images_table(study: StudyReport) -> Markdown:
    """The images of a study, each with the SHA-256 of its file."""
    headings = {"name": "Image", "wnid": "WordNet id", "file": "File", "sha256": "SHA-256"}
    rows = pd.DataFrame(study.provenance["images"]).reindex(columns=list(headings)).fillna("")
    if not rows["wnid"].any():
        rows = rows.drop(columns="wnid")
    formats = {"sha256": lambda digest: f"{digest[:12]}…"}
    return table(rows, "images", headings=headings, formats=formats)
