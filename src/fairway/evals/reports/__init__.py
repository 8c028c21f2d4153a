"""Reports of an evaluation: one pure value, `content.ReportContent`, and one renderer a format."""
