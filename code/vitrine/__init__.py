"""vitrine: a living report on what image classifiers look at, and the software that makes it."""
