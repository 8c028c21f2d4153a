"""The policy of the template, compressed: the same steps and gates, with margins and dwell a short show can meet."""

from __future__ import annotations

from pathlib import Path

from fairway.errors import PermanentError

STEPS = (5, 10, 30, 50)

_POLICY = """\
rollout: # compressed for the demo: a real project dwells for minutes and has narrower margins
  strategy: canary
  steps: [5%, 10%, 30%, 50%, 100%]
  dwell: 4s
  cap: 3m
  soak: 3s
  warm: 15s
  gates:
    success: 92%
    failures:
      margins: [20pt, 12pt, 7pt, 3pt]
    p95:
      margins: ["+150%", "+100%", "+100%", "+75%"]
      must_pass: false # must not fail; proving it at 5% would take minutes at this traffic
    minimum_units: 8

gateway:
  port: {port}
  admin_port: {admin_port}
  block: 1s
  timeouts: {{connect: 2s, first_byte: 20s, idle: 20s, total: 25s}}
"""


def compress_policy(root: Path, *, port: int, admin_port: int) -> None:
    """Replace the ``rollout`` section of the template's ``fairway.yaml`` (its last one) and choose the ports.

    Raises:
        PermanentError: When the template has no such section.
    """
    file = root / "fairway.yaml"
    text = file.read_text(encoding="utf-8")
    head, found, _ = text.partition("\nrollout:")
    if not found:
        raise PermanentError("the template's fairway.yaml has no rollout section", code="demo_template")
    file.write_text(head + "\n" + _POLICY.format(port=port, admin_port=admin_port), encoding="utf-8")
