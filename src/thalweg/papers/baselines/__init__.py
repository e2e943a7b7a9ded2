"""What torch ships, as baselines: the same mechanism, no claim."""
