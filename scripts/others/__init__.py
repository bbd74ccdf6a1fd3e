"""`make others`: other people's systems and Holdfast under the same load and the same faults, counted by effects."""
