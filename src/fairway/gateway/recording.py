"""What became of a request: judged and counted once, with what was read of its answer while that passed."""

from __future__ import annotations

from time import perf_counter

from fairway.gateway.comparing import Side
from fairway.gateway.framing import AnswerHead
from fairway.gateway.judging import Reason, Verdict, judge_answer, reported
from fairway.gateway.noting import note_ended
from fairway.gateway.reading import Ending, StreamReading
from fairway.gateway.returning import Returning
from fairway.gateway.sending import Sending
from fairway.gateway.serving import ArmServing
from fairway.gateway.telemetry import Cell, bin_of_us
from fairway.gateway.trace_context import trace_id
from fairway.gateway.usage import Usage
from fairway.gateway.websocket import ENDED_HERE
from fairway.traffic.outcome import Outcome
from fairway.traffic.rules import Decision


class Recording(Sending):
    """A request, and what is known of its answer.

    The class attributes are what most requests never change, as in :class:`Sending`.
    """

    _answer: AnswerHead | None = None
    _returning: Returning | None = None
    """How the answer is passed on, when it did not come in one piece."""
    _held = b""
    _first_byte = -1.0
    _outcome: Outcome | None = None
    reading: StreamReading | Ending | None = None
    """What is read of an answer that comes in pieces."""
    usage: Usage | None = None
    """Tokens, as a model's API said them, where the agent said none."""
    answered = 0.0
    """When it counts as answered, for what goes on after that; 0: with its end."""
    bytes_out = 0
    """Of the answer's body so far, as the arm sent it."""
    _rerun_code = ""
    """Why it runs again."""
    _broken = ""
    """Why the release has failed it, though it answered when it was asked once more; empty when it has not."""
    _rerun = False
    """Whether it has failed, which is counted, and runs again on stable."""

    # --- what the access log asks -------------------------------------------------------------------------------

    @property
    def answer(self) -> AnswerHead | None:
        """The head of its answer, once that was here."""
        return self._answer

    @property
    def outcome(self) -> Outcome | None:
        """What its agent said."""
        return self._outcome

    @property
    def first_byte(self) -> float:
        """When the first byte of the answer's body came, ``perf_counter()`` seconds; below 0: it did not."""
        return self._first_byte

    @property
    def served(self) -> ArmServing | None:
        """Who serves it."""
        return self._served

    @property
    def decision(self) -> Decision | None:
        """Where it goes, and why."""
        return self._placement.decision if self._served is not None or self.cell is not None else None

    @property
    def bytes_in(self) -> int:
        """Bytes of its body that were read."""
        return max(0, self.head.length) if self._body is None else self._body.taken

    # --- what is read, and what it comes to ------------------------------------------------------------------------

    def _to_read(self, answer: AnswerHead, returning: Returning) -> StreamReading | Ending | None:
        """What of an answer that comes in pieces is read while it passes."""
        cell = self.cell
        if cell is None or self._rerun or self._moved:
            return None
        if returning.filter is not None:
            stall = self._serving.table.reading.stall_seconds
            return StreamReading(cell, started=self.started, stall=stall, usage=cell.reads_usage)
        if not cell.reads_usage or not answer.length or answer.status >= 300:
            return None
        kind = answer.headers.get(b"content-type", b"").lower()
        encoded = answer.headers.get(b"content-encoding", b"identity").lower() != b"identity"
        return Ending() if b"json" in kind and not encoded else None

    def _record(self, reason: Reason, code: str, status: int = 0, *, last: bool = True) -> None:
        """Count the request, once; ``last``: it does not run again."""
        self.done = True
        if self.deadline is not None and last:
            self.deadline.cancel()
        cell = self.cell
        if cell is None:
            if reason == "transport":
                self.client.worker.count_refused(code)
            note_ended(self, "unknown", code, status)
            return
        if self._rerun:
            self._record_rerun(reason, cell)
            note_ended(self, "failed", self._rerun_code, status)
            return
        now = self.answered or perf_counter()
        cell.dirty = True
        cell.open -= 1
        cell.finished += 1
        verdict, code = self._judge(reason, code, cell)
        if last:
            note_ended(self, verdict, code, status)
        if self._pair is not None:
            answered = 0 if self._answer is None else self._answer.status
            seconds = now - self.started
            self._pair.primary_ended(Side(verdict, code, status or answered, self._outcome, seconds, 0, b""))
        if verdict != "ok":
            self._describe(cell, verdict, code, status)
        if reason == "client":
            cell.sums["client_aborted"] = cell.sums.get("client_aborted", 0) + (code not in ENDED_HERE)
            return
        if self._moved:
            return  # another arm's time
        latency = now - self.started
        cell.latency[bin_of_us(int(latency * 1e6))] += 1
        if self._first_byte >= 0:
            cell.first_byte[bin_of_us(int((self._first_byte - self.started) * 1e6))] += 1
        if self.unit is not None and self._serving.thresholds:
            first = self._first_byte - self.started if self._first_byte >= 0 else 0.0
            self._serving.thresholds_of(self._placement.decision.role).mark_times(cell, self.unit, latency, first)

    def _describe(self, cell: Cell, verdict: Verdict, code: str, status: int) -> None:
        """Note a request that failed, or whose outcome nobody knows."""
        if self.unit is not None:
            cell.mark(verdict, self.unit)
        if verdict == "unknown":
            cell.unknown += 1
            return
        cell.failed += 1
        status = status or (self._answer.status if self._answer is not None else 0)
        exemplar = {"request": self.request_id.decode(), "status": str(status), "reason": code}
        if (trace := trace_id(self.head.raw)) is not None:
            exemplar["trace"] = trace
        cell.describe(exemplar)

    def _count_usage(self, cell: Cell, usage: Usage | None) -> None:
        """Count the tokens a model's API said: they are figures, and no outcome."""
        self.usage = usage
        if usage is not None:
            cell.use(usage, self.unit, self._serving.thresholds_of(self._placement.decision.role))

    def _judge(self, reason: Reason, code: str, cell: Cell) -> tuple[Verdict, str]:
        """What became of the request: transport first, then what the agent said, then whether it ever says."""
        answer = self._answer
        outcome, said = None, False
        if answer is not None and not answer.plain:
            outcome, said = reported(answer, None if self._returning is None else self._returning.filter)
            if said and self._served is not None:
                self.client.worker.attest(self._served)
            if outcome is not None:
                self._outcome = outcome
                cell.add(outcome)
                told = outcome.values or (cell.tells_tokens and outcome.counted)
                if told and self.unit is not None and not self._moved:
                    cell.valued.append((self.unit, outcome))
                if self.unit is not None and not self._moved and (outcome.marks or self._serving.thresholds):
                    limits = self._serving.thresholds_of(self._placement.decision.role)
                    limits.mark_outcome(cell, self.unit, outcome)
        if reason == "agent" and not self._moved and (outcome is None or not outcome.counted):
            self._count_usage(cell, self.usage if self.reading is None else self.reading.usage())
        if self._moved:
            return "failed", self._moved
        if reason == "transport":
            return "failed", code
        if self._broken and reason == "agent":
            return "failed", self._broken
        if reason == "client":
            return "unknown", code
        assert answer is not None
        expected = said or (self._served is not None and self._served.attested)
        return judge_answer(answer.status, outcome, expected=expected)

    def _record_rerun(self, reason: Reason, cell: Cell) -> None:
        """What became of a request that was run again: counted apart, for and against nobody."""
        cell.dirty = True
        cell.open -= 1
        verdict: Verdict = "failed" if reason == "transport" else "unknown"
        answer, served = self._answer, self._served
        if reason == "agent" and answer is not None and served is not None:
            outcome, said = reported(answer, None if self._returning is None else self._returning.filter)
            verdict, _ = judge_answer(answer.status, outcome, expected=said or served.attested)
        name = f"reruns_{verdict}"
        cell.sums[name] = cell.sums.get(name, 0) + 1
