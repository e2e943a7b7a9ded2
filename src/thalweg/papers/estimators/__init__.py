"""Papers on estimators."""
