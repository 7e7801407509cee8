"""Everything that is jitted, and nothing else."""
