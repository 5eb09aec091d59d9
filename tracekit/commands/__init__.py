"""One thin file per command: arguments -> calls -> exit code."""
