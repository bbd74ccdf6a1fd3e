"""Holdfast's part of the comparison: a domain app as a team would add it."""
