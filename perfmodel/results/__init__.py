"""What a run yields, where it comes from, and how it is kept."""
