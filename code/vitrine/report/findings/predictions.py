"""Findings about the predictions themselves."""

from vitrine.report.findings.finding import Finding, absent
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, part_of


def correct(study: StudyReport) -> Finding:
    """Of how many images the most probable class is the one that they are filed under."""
    if study.has_one_output:
        return absent("The network has one output, so that it cannot predict another class.")
    known = [image for image in study.images if study.has_true_class(image)]
    if not known:
        return absent("The true classes of this study's images are not known.")
    right = [image for image in known if study.is_correct(image)]
    wrong = [image for image in known if image not in right]
    text, every, no = "", "every image", "no image"
    if len(known) < len(study.images):
        every, no = (f"{word} image whose class is known" for word in ("every", "no"))
        text = f"The class of {part_of(len(known), len(study.images), 'image')} is known."
    if not wrong:
        return Finding(f"The network predicts {every} correctly.", text, "all")
    if not right:
        return Finding(f"The network predicts {no} correctly.", text, "none")
    shown = wrong[:4]
    others = [f"{len(wrong) - 4} others"] if len(wrong) > 5 else wrong[4:]
    text = f"The most probable class is not the true one for {listing([*shown, *others])}. {text}"
    part = part_of(len(right), len(known), "image")
    return Finding(f"The network predicts {part} correctly.", text.strip(), "some")
