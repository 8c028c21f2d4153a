"""A rollback by turning a feature flag off: its record, and whether it helped."""

from __future__ import annotations

from fairway.bootstrap import Workspace
from fairway.flags.values import Setting, Standing
from fairway.incident.kinds import KINDS, Kind
from fairway.incident.procedure import Entry, Procedure, Step, recovery
from fairway.incident.situations import Situation
from fairway.observe.fold import Block
from fairway.recovery.options import route_state
from fairway.recovery.record import find_procedure, read_procedures, write_entry
from fairway.units import Verdict


def already_off(stands: Standing, flag: str, environment: str) -> Setting | None:
    """The setting by which a flag is off for everybody here; ``None`` when turning it off would change something.

    Only what somebody said counts: a flag that is off by default is on again as soon as its default is.
    """
    here = {tenant: one for (name, where, tenant), one in stands.items() if (name, where) == (flag, environment)}
    whole = here.get("")
    if whole is None or whole.share != 0 or any(one.share for one in here.values()):
        return None
    return whole


def last_incident(workspace: Workspace, flag: str) -> str | None:
    """The last rollback on record that turned a flag off."""
    known = (one.incident for one in read_procedures(workspace))
    return next((one for one in known if one.rpartition("-")[0] == f"flag-{flag}"), None)


def record_flag_rollback(workspace: Workspace, made: Setting) -> str:
    """Record the procedure of a rollback by flag; returns its id."""
    incident = f"flag-{made.flag}-{made.at:%Y%m%d%H%M%S}"
    state = route_state(workspace)
    stable = None if state is None else state.stable
    version = None if stable is None else stable.version
    facts = KINDS[Kind.FLAG]
    detected = {
        "seq": workspace.ledger.head(workspace.route).fence.seq,
        "at": made.at.isoformat(),
        "code": "flag_off",
        "reason": made.reason,
        "by": made.actor,
        "situation": Situation.PERSON_ASKED.value,
        "response": [],
        "automatic": False,
        "from": f"{version} with {made.flag}",
        "release": None if stable is None else stable.release,
        "to": version,
    }
    chosen = {
        "kind": Kind.FLAG.value,
        "why": f"{made.actor} turned {made.flag} off",
        "then": "",
        "risk": facts.risk.value,
        "seconds": list(facts.seconds),
        "flags_that_are_on": [],
    }
    rolled_back = {"seq": detected["seq"], "at": made.at.isoformat(), "seconds": None, "to": version}
    for step, details in ((Step.DETECT, detected), (Step.CHOOSE, chosen), (Step.ROLL_BACK, rolled_back)):
        write_entry(workspace, Entry(incident=incident, step=step, at=made.at, actor=made.actor, details=details))
    return incident


def verified_now(workspace: Workspace, known: Procedure) -> Procedure:
    """The procedure with its recovery looked at, where nobody has yet: what is known by now is recorded."""
    detected, rolled_back = known.done(Step.DETECT), known.done(Step.ROLL_BACK)
    if known.done(Step.VERIFY) is not None or detected is None or rolled_back is None:
        return known
    if detected.details["code"] != "flag_off":
        return known  # the controller's recorder looks at those
    since = rolled_back.at.timestamp()
    blocks = [Block.from_wire(wire) for wire in workspace.ledger.blocks(workspace.route, since=since)]
    release = detected.details["release"]
    found = recovery(blocks, back_to=release, since=since, policy=workspace.project.sla.policy())
    if found.verdict is Verdict.NO_DATA:
        return known
    details = {
        "verdict": found.verdict.value,
        "requests": found.requests,
        "success_rate": found.success_rate,
        "reason": found.reason,
    }
    write_entry(
        workspace,
        Entry(incident=known.incident, step=Step.VERIFY, at=workspace.clock.now(), actor="fairway", details=details),
    )
    return find_procedure(workspace, known.incident) or known
