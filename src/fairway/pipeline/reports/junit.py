"""The run as JUnit XML, as CI systems read it: a stage is a test case.

A stage that said no is ``<failure>``; one that could not look (broken, cancelled, or never reached because another
broke) is ``<error>`` or ``<skipped>``: a broken instrument is not a bad agent.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from fairway.pipeline.port import Finding, RunReport, StageResult, StageStatus

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: RunReport) -> str:
    """An XML document with one ``<testsuite>``."""
    counts = {
        "tests": len(report.results),
        "failures": sum(result.status is StageStatus.FAILED for result in report.results),
        "errors": sum(result.status in (StageStatus.ERROR, StageStatus.CANCELLED) for result in report.results),
        "skipped": sum(result.status is StageStatus.SKIPPED for result in report.results),
    }
    numbers = {name: str(count) for name, count in counts.items()} | {"time": f"{report.duration_seconds:.3f}"}
    root = ElementTree.Element("testsuites", {"name": "fairway", **numbers})
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": _clean(f"{report.agent} {report.release_version}"),
            "timestamp": report.started_at.isoformat(timespec="seconds"),
            **numbers,
        },
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("run_id", report.run_id), ("release", report.release)):
        ElementTree.SubElement(properties, "property", {"name": name, "value": value})
    for result in report.results:
        suite.append(_case(report, result))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(report: RunReport, result: StageResult) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase",
        {
            "classname": _clean(f"fairway.{report.agent}"),
            "name": result.stage,
            "time": f"{result.duration_seconds:.3f}",
        },
    )
    tags = {
        StageStatus.FAILED: "failure",
        StageStatus.ERROR: "error",
        StageStatus.CANCELLED: "error",
        StageStatus.SKIPPED: "skipped",
    }
    if (tag := tags.get(result.status)) is not None:
        attributes = {"message": _clean(result.summary)}
        if tag != "skipped":
            attributes["type"] = result.status.value
        element = ElementTree.SubElement(case, tag, attributes)
        element.text = _clean("\n".join(_finding(finding) for finding in result.findings)) or None
    else:
        ElementTree.SubElement(case, "system-out").text = _clean(f"{result.status.value}: {result.summary}")
    return case


def _finding(finding: Finding) -> str:
    place = ":".join(str(part) for part in (finding.file, finding.line, finding.column) if part is not None)
    return f"{place + ': ' if place else ''}{finding.severity}: {finding.message} [{finding.rule}]"


def _clean(text: str) -> str:
    """Text without what XML 1.0 cannot hold."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
