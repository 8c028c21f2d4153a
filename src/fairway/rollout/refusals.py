"""What to do instead, for each reason a verb is refused with. Pure."""

from __future__ import annotations

from collections.abc import Mapping

_STATUS = "fairway rollout status shows where the route is"
_SAY_WHY = "say why: --reason '…'; it is kept in the audit log"

INSTEAD: Mapping[str, str] = {
    "aborted": "start it again when you still want it: fairway rollout start <release>",
    "already_rolling": "follow it: fairway rollout watch",
    "already_rolling_back": "follow it: fairway rollout watch; --to <version> goes to another former stable instead",
    "already_stable": "there is nothing to do; fairway rollout status shows it",
    "approval_needed": "somebody who did not write it says: fairway rollout approve <release>",
    "approval_not_due": "approve when the rollout waits for it, or name one of these points with --before",
    "approval_not_asked": "fairway rollout plan shows where the policy asks; rollout.approval changes it",
    "author_approves": "ask somebody else for fairway rollout approve <release>, or set rollout.approval.authors_may",
    "author_loosens": "ask somebody else for fairway rollout approve <release>;"
    " fairway rollout plan --release <release> shows what its policy loosens",
    "author_promotes": "ask somebody who did not write it, or let the gates decide",
    "bad_hold": "for example: fairway rollout hold --for 2h --reason 'launch'",
    "blocked": "fairway rollout retry starts it again with every gate anew; lift-block only lifts the block",
    "candidate_crashed": "fairway rollout watch follows it back; its log says why it stopped",
    "cannot_mirror": "choose another rollout.strategy, or a router that can; fairway rollout plan shows what it needs",
    "cannot_probe": "choose another rollout.strategy; fairway rollout plan shows what it needs",
    "custom_gate_failed": "fix it and release anew; when the source was wrong: fairway rollout retry, once it is back",
    "freeze_too_long": "for example: fairway rollout hold --freeze --for 1h --reason '…'; freeze again when it is over",
    "frozen": "ask who froze it, or with the role: fairway rollout release-hold --reason '…'",
    "gate_failed": "fix it and release anew; when the fault lay elsewhere: fairway rollout retry, once it is back",
    "held": "ask who holds it, or with the role: fairway rollout release-hold --of <name> --reason '…'",
    "just_rolled_back": "if what serves now is bad too: fairway rollback --to <version>, or --if-version <its seq>",
    "mirror_failed": "fix it and release anew; it goes back by itself, and nobody has met it",
    "moved": f"{_STATUS}; ask again if you still want it",
    "never_stable": "fairway deploy <release> takes it through its gates",
    "no_approval": "fairway rollout status shows whose approvals there are",
    "no_hold": f"there is nothing to release; {_STATUS}",
    "no_note_owed": "fairway rollout status shows where a note is owed",
    "no_previous": "fairway release list shows what there is; fairway deploy takes one through its gates",
    "no_rollout": "fairway rollout start <release> begins one",
    "no_such_point": "name one of these with --before, or leave it out: the yes is for what is waited for then",
    "no_steps": "give rollout.steps a share below 100%, such as 5%",
    "not_an_approver": "ask one of them: an approval is not given by breaking glass",
    "not_blocked": "start it: fairway rollout start <release>",
    "not_paused": _STATUS,
    "not_pending": "fairway rollout status shows what waits; what was applied is undone by its own verb, such as abort",
    "not_rolled_back": "start it: fairway rollout start <release>; when it is blocked, lift-block first",
    "not_stepping": f"{_STATUS}; promote and skip work while it steps",
    "not_sticky": "set rollout.rolling.mixed: true, or choose another rollout.strategy",
    "not_yours": "ask who asked for it",
    "nothing_to_skip": f"{_STATUS}; skip leaves a step or the soak",
    "pinned": "let go first: fairway gateway pin none",
    "masked": "let it serve first: fairway gateway unmask <release>",
    "probe_failed": "fix it and release anew; it goes back by itself, and nobody has met it",
    "reason_needed": _SAY_WHY,
    "release_refused": "fairway release verify <release> and fairway release show <release> say what it lacks",
    "role_missing": "ask one of them; in an emergency add --break-glass with a reason, which is recorded loudly",
    "rollout_live": "fairway rollout status shows it; fairway rollout abort ends it, "
    "and fairway deploy --supersede starts another in its place",
    "shadow_unattested": "look at what it did; let its answers say shadow=1, or take rollout.shadow.heeded out",
    "smoke_failed": "fix it and release anew; it goes back by itself, and nobody has met it",
    "soak_paused": "fairway rollout resume lets it end; fairway deploy --supersede takes it back and starts the other",
    "soak_unseen": "mend telemetry and ask again; with the role: fairway rollout skip --reason '…' ends the soak",
    "stable_unknown": "run it where stable was released; with the role: fairway rollout start <release> --override"
    " --reason '…'",
    "still_starting": "ask again in a moment; fairway rollout watch shows when",
    "too_late": "fairway rollout abort takes all traffic back, in every phase",
    "trigger_fired": "fairway rollout watch follows it back; if the fault lay elsewhere: fairway rollout retry",
    "unknown_release": "fairway release list shows what there is",
    "whose_hold": "fairway rollout release-hold --of <name>; fairway rollout status shows whose holds there are",
    "withdrawn": "ask again when it is still wanted",
}
"""By code; the message says what is wrong, this what to run or change."""
