"""Goals that ask, seen from the attempt: their questions are written, and answers that come while it runs are taken."""

from __future__ import annotations

from contracts.questions import ASKING
from services.executor.ownership import Attempt


def take_answers(attempt: Attempt) -> None:
    """Let goals go on that were answered while others ran."""
    answers = attempt.ledger.answers
    while answers:
        attempt.plan.answer(*answers.pop(0))


async def note_questions(attempt: Attempt, *, others_run: bool) -> None:
    """Write what goals asked; the last of them is asked by the record `waiting`, where nothing else runs any more."""
    unwritten = attempt.plan.unwritten
    for goal_id, asking in list(unwritten.items()):
        if others_run or len(unwritten) > 1:
            await attempt.ledger.note(ASKING, goal=attempt.told(asking))
            del unwritten[goal_id]
