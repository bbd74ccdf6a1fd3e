"""What can be wrong with the inputs."""


class InputInvalid(Exception):
    """A line that is no event and no row: the message names file, line and what is missing."""
