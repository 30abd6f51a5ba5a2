"""Claims of earlier reports and the verdict on each, judged in one place.

The claims are in ``data/published/claims.csv``, in our words. Each has a function here that judges
it from the tables and maps of the stores, whichever study is shown.
"""

from claims.judgement import RULE, VERDICTS, Judgement, Part
from claims.ledger import JUDGES, claims_of, judged, ledger_table, verdicts

__all__ = [
    "JUDGES",
    "RULE",
    "VERDICTS",
    "Judgement",
    "Part",
    "claims_of",
    "judged",
    "ledger_table",
    "verdicts",
]
