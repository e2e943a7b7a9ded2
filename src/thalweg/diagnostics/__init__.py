"""Instruments: what a model, its data or its training suffer from."""
