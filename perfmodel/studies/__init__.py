"""Comparisons and sweeps over the model."""
