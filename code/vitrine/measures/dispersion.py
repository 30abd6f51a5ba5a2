"""Whether values differ more between the columns of a table or between its rows."""

import numpy as np

from vitrine.arrays import Values


def between_columns(table: Values) -> Values:
    """Each row's mean absolute difference ``[n]`` of two columns of ``table [n, m]``."""
    columns = table.shape[1]
    apart = np.abs(table[:, :, None] - table[:, None, :]).sum(axis=(1, 2))
    return np.asarray(apart / (columns * (columns - 1)))


def between_rows(table: Values) -> Values:
    """Jackknife pseudo-values ``[n]`` of the mean absolute difference of two rows of a column.

    Their mean is that of all pairs of rows; a pair belongs to two rows, which the variance of the
    plain means of rows would leave out (Efron and Stein, 1981). Needs three rows.
    """
    rows = len(table)
    apart = np.abs(table[:, None, :] - table[None, :, :]).mean(axis=2)
    means = apart.sum(axis=1) / (rows - 1)
    return np.asarray((2 * (rows - 1) * means - rows * means.mean()) / (rows - 2))
