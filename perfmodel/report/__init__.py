"""Comparisons as text and as a page; computes nothing new."""
