"""What evaluations leave behind: run folders, attempts on the same content, blessed baselines, merged shards."""
