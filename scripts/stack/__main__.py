"""Command line of the host tools: `python3 -m scripts.stack <verb>`. Drills, failover and bench have their own."""

import sys

from scripts.stack.command_line import main

sys.exit(main(sys.argv[1:]))
