"""`python -m flows.cli` is the command `agentevol`."""

from flows.cli.main import main

main()
