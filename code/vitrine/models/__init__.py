"""Networks: their table, their preprocessing, their passes."""
