"""The commands below ``fairway gateway``, one a file."""
