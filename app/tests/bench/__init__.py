"""The half of `make bench` that runs in the test image: real servers on a real disk, and what is compared."""
