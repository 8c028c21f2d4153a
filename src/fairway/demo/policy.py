"""The policy of the template, compressed: the same gates, with margins and dwell a short show can meet."""

from __future__ import annotations

from pathlib import Path

from fairway.errors import PermanentError

_HEAD = "rollout: # compressed for the demo: a real project dwells for minutes and has narrower margins\n"

CANARY = (
    _HEAD
    + """\
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
"""
)

BLUE_GREEN = (
    _HEAD
    + """\
  strategy: blue-green
  blue_green:
    smoke: 3s # every instance of the idle colour answers each probe for so long before any traffic
  dwell: 4s
  cap: 2m
  soak: 6s # the old colour stays warm at least until this is over: a bad switch goes back to it at once
  warm: 15s
  gates:
    success: 92%
    minimum_units: 8
"""
)

SHADOW = (
    _HEAD
    + """\
  strategy: shadow # copies first, then the canary's steps
  shadow:
    heeded: true # as a shadow its tools are mocked, and each answer says so: one that did not would end it
    mirror: 100%
    dwell: 4s
    margin: 5pt
    minimum_pairs: 60
  steps: [50%, 100%]
  dwell: 4s
  cap: 2m
  soak: 3s
  warm: 15s
  gates:
    success: 92%
    failures:
      margins: [10pt]
    p95:
      margins: ["+150%"]
      must_pass: false
    minimum_units: 8
"""
)

_GATEWAY = """\

gateway:
  port: {port}
  admin_port: {admin_port}
  block: 1s
  timeouts: {{connect: 2s, first_byte: 20s, idle: 20s, total: 25s}}
"""


_LEFT_OUT = ("tool_integration", "security_scan", "unit_test")
_STAGES = "\npipeline:\n  stages:\n"


def shorten_pipeline(root: Path) -> None:
    """Switch off stages that a chapter about a strategy does not need; the main story runs them all.

    Args:
        root: Of the project.

    Raises:
        PermanentError: When the template says nothing of its stages.
    """
    file = root / "fairway.yaml"
    head, found, rest = file.read_text(encoding="utf-8").partition(_STAGES)
    if not found:
        raise PermanentError("the template's fairway.yaml has no pipeline section", code="demo_template")
    _, _, tail = rest.partition("\n\n")
    off = "".join(f"    {stage}: {{enabled: false, reason: the main chapter runs it}}\n" for stage in _LEFT_OUT)
    file.write_text(f"{head}{_STAGES}{off}\n{tail}", encoding="utf-8")


def compress_policy(root: Path, policy: str, *, port: int, admin_port: int) -> None:
    """Replace the ``rollout`` section of the template's ``fairway.yaml`` (its last one) and choose the ports.

    Args:
        root: Of the project.
        policy: The new section, as YAML.
        port: Of the gateway.
        admin_port: For people and Prometheus.

    Raises:
        PermanentError: When the template has no such section.
    """
    file = root / "fairway.yaml"
    text = file.read_text(encoding="utf-8")
    head, found, _ = text.partition("\nrollout:")
    if not found:
        raise PermanentError("the template's fairway.yaml has no rollout section", code="demo_template")
    file.write_text(f"{head}\n{policy}{_GATEWAY.format(port=port, admin_port=admin_port)}", encoding="utf-8")
