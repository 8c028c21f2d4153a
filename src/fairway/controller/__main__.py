"""``python -m fairway.controller --project DIR``: the controller process that ``fairway up`` supervises."""

from __future__ import annotations

from fairway.supervise.controller_process import main

main()
