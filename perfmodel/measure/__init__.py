"""The live world: what this machine can do, set-up, worker, and putting back."""
