"""Papers on layers."""
