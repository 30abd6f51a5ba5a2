"""What chapters call: results in, Markdown out."""

from vitrine.report.study_report import StudyReport, open_study

__all__ = ["StudyReport", "open_study"]
