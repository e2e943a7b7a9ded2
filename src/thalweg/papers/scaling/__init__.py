"""Papers on scaling laws."""
