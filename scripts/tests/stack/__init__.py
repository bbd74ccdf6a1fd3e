"""Tests that drive Docker itself, on a compose project, subnet and ports of their own."""
