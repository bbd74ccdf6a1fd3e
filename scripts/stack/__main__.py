"""Command line of the host tools: `python3 -m scripts.stack <verb>`. The Makefile calls nothing else."""

import sys

from scripts.stack.command_line import main

sys.exit(main(sys.argv[1:]))
