"""A support agent for a small shop."""
