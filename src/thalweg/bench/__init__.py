"""The race: comparison, tuning, statistics, store and engines."""
