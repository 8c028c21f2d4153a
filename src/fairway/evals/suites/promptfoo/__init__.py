"""promptfoo's configurations as Fairway suites; what cannot be taken is listed, never dropped."""
