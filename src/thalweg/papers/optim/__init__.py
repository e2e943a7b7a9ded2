"""Papers on optimizers."""
