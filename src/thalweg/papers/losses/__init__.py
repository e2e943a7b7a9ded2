"""Papers on losses."""
