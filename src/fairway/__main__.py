"""``python -m fairway``."""

from fairway.cli.main import main

main()
