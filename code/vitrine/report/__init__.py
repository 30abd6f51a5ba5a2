"""What chapters call: results in, Markdown out."""

from vitrine.report.study_report import StudyReport, computed_studies, open_study

__all__ = ["StudyReport", "computed_studies", "open_study"]
