"""Figures from outside: what Prometheus or an HTTP endpoint answers, and what a custom gate makes of it.

Reading an answer and judging it are pure; asking is in ``asking``. Nothing of it carries a statistical guarantee, so
it may hold a rollout or fail it, and never moves one on.
"""
