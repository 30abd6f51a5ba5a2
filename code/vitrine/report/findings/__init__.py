"""What the report says of its numbers: one function a finding, for whichever way it came out."""

from vitrine.report.findings.finding import Finding, absent, findings

__all__ = ["Finding", "absent", "findings"]
