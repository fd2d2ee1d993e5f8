"""The names of the row formats. Imports nothing, so that the command line starts quickly."""

from __future__ import annotations

from typing import Literal

FormatName = Literal["agentgym", "agentinstruct", "messages", "toolcalls", "xlam"]
