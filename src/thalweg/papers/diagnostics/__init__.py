"""Papers on diagnostics."""
