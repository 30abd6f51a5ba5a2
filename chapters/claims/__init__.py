"""Claims of earlier reports and the verdict on each: judged once, shown by chapter and together.

The claims are in ``data/published/claims.csv``, in our words. A module of this package judges those
of one chapter, from the tables and maps of the stores; ``JUDGES`` says which.
"""

from claims.judgement import Judgement
from claims.ledger import (
    CLAIMED_IN,
    claims_of,
    claims_table,
    judged,
    ledger_table,
    link,
)

__all__ = [
    "CLAIMED_IN",
    "Judgement",
    "claims_of",
    "claims_table",
    "judged",
    "ledger_table",
    "link",
]
