"""The rules of an attempt: what is done, what may start, whether to try again, how it ends. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from contracts.lifecycle import Status
from contracts.messages import (
    MAX_GOALS,
    Answer,
    Failure,
    Goal,
    GoalStatus,
    Mission,
    Question,
    RetryPolicy,
    StatusRecord,
)
from contracts.questions import ANSWERED, open_questions

_MAX_MESSAGE = 2_000
_MAX_TYPE = 200

#: Phases of an `active` record.
GOAL_DONE = "goal_done"
BACKING_OFF = "backing_off"
PROGRESS = "progress"
QUEUED = "queued"
STARTED = "started"
RECOVERING = "recovering"
RELEASED = "released"
CANCELLING = "cancelling"
CHECKPOINT = "checkpoint"
RESUMED = "resumed"

#: Phases of an outcome: what became of a handler that was asked to stop.
STOPPED = "stopped"
DETACHED = "detached"
TOO_LATE = "too_late"

#: What a goal is that will never be done.
SKIPPED = "skipped"

#: Reasons: open for readers, closed for us.
OK = "ok"
HANDLER_ERROR = "handler_error"
HANDLER_REJECTED = "handler_rejected"
HANDLER_TIMEOUT = "handler_timeout"
HANDLER_EXIT = "handler_exit"
HANDLERS_STUCK = "handlers_stuck"
MEMORY_LIMIT = "memory_limit"
CPU_LIMIT = "cpu_limit"
OUTPUT_LIMIT = "output_limit"
GARBLED = "garbled"
WORKER_LOST = "worker_lost"
RETRIES_EXHAUSTED = "retries_exhausted"
DEADLINE_EXCEEDED = "deadline_exceeded"
UNKNOWN_KIND = "unknown_kind"
BAD_PARAMS = "bad_params"
BAD_PLAN = "bad_plan"
BAD_REFERENCE = "bad_reference"
NEED_NOT_MET = "need_not_met"
RESULT_NOT_FOUND = "result_not_found"
RESULT_TOO_LARGE = "result_too_large"
ARTIFACT_NOT_STORED = "artifact_not_stored"
BAD_RESULT = "bad_result"
UNWRITABLE = "unwritable"
POISON = "poison"
QUESTION_EXPIRED = "question_expired"
KEPT = "kept"
USER = "user"

#: Reasons after which a goal is never tried again.
FINAL = frozenset({HANDLER_REJECTED, QUESTION_EXPIRED, RESULT_TOO_LARGE, BAD_RESULT, BAD_PARAMS, BAD_REFERENCE})


class Outcome(Struct, frozen=True):
    """How a mission ends, or why its attempt does: `waiting` is no end."""

    status: Status
    reason: str
    result: Any = None
    error: Failure | None = None
    goal: GoalStatus | None = None
    phase: str = ""


class Plan(Struct):
    """What is known of a mission's goals while one attempt works on it."""

    mission: Mission
    results: dict[str, Any] = {}  #: of finished goals, by goal id
    failed: dict[str, Outcome] = {}  #: of goals that failed for good, the first one first
    skipped: dict[str, str] = {}  #: goals that never finish, and the need that is missing
    told: set[str] = set()  #: skipped goals of which a record tells
    tries: dict[str, int] = {}  #: tries begun so far, by goal id
    asked: dict[str, set[int]] = {}  #: the tries that ended with a question, by goal id
    questions: dict[str, Question] = {}  #: that are open, by goal id
    unwritten: dict[str, GoalStatus] = {}  #: those of them that no record holds yet
    answers: dict[str, tuple[Answer, ...]] = {}  #: by goal id
    checkpoints: dict[str, Any] = {}  #: what was saved last, by goal id

    def settled(self, goal_id: str) -> bool:
        """Whether a goal needs no more work."""
        return goal_id in self.results or goal_id in self.skipped or goal_id in self.failed

    @property
    def goes_on(self) -> bool:
        """Whether the goals that do not need a failed one are done all the same."""
        return self.mission.on_failure == "continue"

    @property
    def done(self) -> bool:
        """Whether there is nothing more to do: every goal is settled, or one failed that ends them all."""
        if self.failed and not self.goes_on:
            return True
        return all(self.settled(goal.id) for goal in self.mission.goals)

    @property
    def untold(self) -> list[Goal]:
        """The goals that are skipped because of others, and of which no record tells yet."""
        return [goal for goal in self.mission.goals if goal.id in self.skipped and goal.id not in self.told]

    def ready(self, running: Iterable[str], at_once: int = MAX_GOALS) -> list[Goal]:
        """Return the goals that may start now: not settled, not running, all they need finished, room for them."""
        busy = set(running)
        found = [
            goal
            for goal in self.mission.goals
            if not self.settled(goal.id)
            and goal.id not in busy
            and goal.id not in self.questions
            and all(need in self.results for need in goal.needs)
        ]
        return found[: max(0, at_once - len(busy))]

    def fail(self, goal_id: str, outcome: Outcome) -> None:
        """Take note that a goal failed for good; where the mission goes on, what needs it is skipped."""
        self.failed[goal_id] = outcome
        if self.goes_on:
            self._skip_what_needs(goal_id)

    def failures(self, goal_id: str) -> int:
        """Count the tries that use up a goal's retries: one that ended with a question did not fail."""
        return self.tries[goal_id] - len(self.asked.get(goal_id, ()))

    def ask(self, goal: Goal, question: Question) -> None:
        """Let a goal wait for the answer to what its last try asked."""
        tries = self.tries[goal.id]
        self.asked.setdefault(goal.id, set()).add(tries)
        self.questions[goal.id] = question
        self.unwritten[goal.id] = GoalStatus(
            id=goal.id, kind=goal.kind, status=Status.WAITING, attempt=tries, question=question
        )

    def answer(self, goal_id: str, answer: Answer) -> None:
        """Let a goal go on with its answer."""
        self.questions.pop(goal_id, None)
        self.answers[goal_id] = (*self.answers.get(goal_id, ()), answer)

    def skip(self, goal_id: str) -> None:
        """Give an optional goal up, and with it every goal that needs it."""
        self.skipped.setdefault(goal_id, "")
        self.told.add(goal_id)
        self._skip_what_needs(goal_id)

    def _skip_what_needs(self, goal_id: str) -> None:
        for goal in self.mission.goals:
            if goal_id in goal.needs and not self.settled(goal.id):
                self.skipped[goal.id] = goal_id
                self._skip_what_needs(goal.id)


def resume(mission: Mission, records: Sequence[StatusRecord]) -> Plan:
    """Fold what earlier attempts wrote: settled goals stay as they are, tries are counted on."""
    plan = Plan(mission)
    for record in records:
        if record.goal is not None:
            _settle(plan, record, record.goal)
            _recall(plan, record.goal)
    plan.questions = {
        goal_id: asked.question for goal_id, asked in open_questions(records).items() if not plan.settled(goal_id)
    }
    return plan


def _settle(plan: Plan, record: StatusRecord, goal: GoalStatus) -> None:
    """Take over what became of a goal."""
    plan.tries[goal.id] = max(plan.tries.get(goal.id, 0), goal.attempt)
    if goal.status == Status.COMPLETED:
        plan.results[goal.id] = goal.result
    elif goal.status == SKIPPED:
        plan.skip(goal.id)
    elif goal.status == Status.FAILED:
        plan.fail(goal.id, Outcome(Status.FAILED, record.reason, error=goal.error, goal=goal))


def _recall(plan: Plan, goal: GoalStatus) -> None:
    """Take over what a goal saved, asked and was answered."""
    if goal.checkpoint is not None:
        plan.checkpoints[goal.id] = goal.checkpoint
    if goal.question is not None:
        plan.asked.setdefault(goal.id, set()).add(goal.attempt)
    if goal.answer is not None:
        plan.answer(goal.id, goal.answer)


def owners_lost(records: Iterable[StatusRecord]) -> int:
    """Count the attempts that ended without a word; one that was released, or waits for an answer, does not count.

    What the orchestrator says afterwards is no word of the owner's.
    """
    last: dict[int, bool] = {}
    for record in records:
        if record.attempt and record.phase not in {CANCELLING, ANSWERED}:
            last[record.attempt] = record.phase != RELEASED and record.status is not Status.WAITING
    return sum(last.values())


def pause_before_retry(policy: RetryPolicy, tries: int, random_share: float) -> float | None:
    """Return the seconds to wait after the n-th failed try, or None when there is no further one.

    `random_share` in [0, 1) takes up to `policy.jitter` of the pause away, so that failures do not march in step.
    """
    if tries >= policy.max_attempts:
        return None
    exponent = min(tries - 1, 64)
    pause = min(policy.backoff_s * policy.backoff_factor**exponent, policy.max_backoff_s)
    return pause * (1 - policy.jitter * random_share)


def pause_after(reason: str, policy: RetryPolicy, tries: int, random_share: float) -> float | None:
    """Return the pause before the next try at a goal that failed for this reason, or None to give up."""
    return None if reason in FINAL else pause_before_retry(policy, tries, random_share)


def reason_of_giving_up(policy: RetryPolicy, reason: str) -> str:
    """Return the reason of the outcome: that retries are exhausted where there were any."""
    return RETRIES_EXHAUSTED if policy.max_attempts > 1 and reason not in FINAL else reason


def ended(plan: Plan) -> Outcome:
    """Return what an attempt comes to when nothing of it runs or may start: done, waiting for answers, or stuck."""
    if plan.done:
        return next(iter(plan.failed.values()), None) or completed(plan)
    if plan.questions:
        return Outcome(Status.WAITING, "", goal=next(iter(plan.unwritten.values()), None))
    return Outcome(Status.FAILED, BAD_PLAN)


def skipped(goal: Goal, need: str) -> GoalStatus:
    """Describe a goal that is skipped because one that it needs has no result."""
    error = Failure(type="Skipped", message=f"it needs {need}, which has no result")
    return GoalStatus(id=goal.id, kind=goal.kind, status=SKIPPED, attempt=0, error=error)


def completed(plan: Plan) -> Outcome:
    """Return the outcome of a mission whose goals are all settled, and none failed.

    Its result is that of the goal nobody needs; where there are several such goals, an object by goal id.
    """
    needed = {need for goal in plan.mission.goals for need in goal.needs}
    last = [goal for goal in plan.mission.goals if goal.id not in needed and goal.id in plan.results]
    goal = None
    if len(plan.mission.goals) == 1 and last:
        only = last[0]
        goal = GoalStatus(id=only.id, kind=only.kind, status=Status.COMPLETED, attempt=plan.tries.get(only.id, 1))
    return Outcome(Status.COMPLETED, OK, _result([item.id for item in last], plan.results), goal=goal)


def _result(goal_ids: list[str], results: Mapping[str, Any]) -> Any:
    if len(goal_ids) == 1:
        return results[goal_ids[0]]
    return {goal_id: results[goal_id] for goal_id in goal_ids} if goal_ids else None


def failure(error: BaseException) -> Failure:
    """Describe an exception in what a reader of the whiteboard needs."""
    try:
        text = str(error)
    except Exception as worse:  # noqa: BLE001 - user code
        text = f"its message cannot be had: {type(worse).__name__}"
    return described(type(error).__name__, text)


def described(kind: str, message: str) -> Failure:
    """Return a failure whose texts have a size and an encoding that a record can carry."""
    return Failure(type=readable(kind[:_MAX_TYPE]), message=readable(message[:_MAX_MESSAGE]))


def readable(text: str) -> str:
    """Return text that UTF-8 can carry: half of a surrogate pair becomes a question mark."""
    return text.encode(errors="replace").decode()
