"""Families of variants: manifest, labels, preprocessing, evaluation, building and the demo family."""
