"""Papers on optimal transport."""
