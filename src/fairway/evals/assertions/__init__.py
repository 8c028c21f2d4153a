"""What must hold of a trial: the field's assertions, tool calls, outcome checks; pure but for ``measuring``."""
