"""The commands below ``fairway eval``, one a file."""
