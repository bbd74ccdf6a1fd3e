"""Drills against a running stack: hypothesis, inject, check, recover. Each file is one; each prints its verdict."""
