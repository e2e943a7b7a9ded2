"""Choosing and mixing training data."""
