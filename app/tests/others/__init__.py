"""The half of `make others` that runs in the test image: other people's systems and Holdfast under one load and the
same faults, on real servers. `scripts.others` judges what it writes down.
"""
