"""Fairway's own model: an OpenAI-compatible server whose behaviour is a pure function of prompt and conversation."""
