"""A run as people and programs read it: each report is a pure function from :class:`RunReport` to text."""
