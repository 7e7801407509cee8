"""Commands; each imports only what it needs."""
