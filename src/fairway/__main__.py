"""``python -m fairway``."""

from fairway.entry import main

main()
