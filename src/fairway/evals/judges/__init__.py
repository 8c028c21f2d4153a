"""Models that grade: what they are asked, how strictly their answers are read, how they vote, and how good they are."""
