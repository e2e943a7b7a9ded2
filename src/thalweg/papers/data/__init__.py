"""Papers on data."""
