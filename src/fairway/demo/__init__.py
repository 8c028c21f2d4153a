"""The demo: the main job, shown end to end with real traffic."""
