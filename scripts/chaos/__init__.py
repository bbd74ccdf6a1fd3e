"""Seeded chaos on a stack of its own: a plan of faults under load, healing, and a verdict on what was promised."""
