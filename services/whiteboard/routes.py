"""The table of what the whiteboard answers: path, function, what it takes, what comes back."""

from __future__ import annotations

from services.runtime.openapi import Operation
from services.whiteboard import parameters as takes
from services.whiteboard import shapes
from services.whiteboard.app import Answers
from services.whiteboard.problems import NO_MISSION
from services.whiteboard.view import View
from services.whiteboard.why import Why

_LATE = {503: "that sequence is not seen yet, or the question takes too long"}
_PAST = {410: "the records of that time are gone", **_LATE}


def routes(answers: Answers) -> list[Operation]:
    """Return the routes of the whiteboard's own resources."""
    of_one = (takes.MISSION_ID,)
    return [
        Operation("/", answers.root, "Where to go from here", answers={200: shapes.Root}),
        Operation(
            "/missions",
            answers.missions,
            "A page of missions, newest first",
            parameters=takes.LIST,
            answers={200: shapes.MissionList, 304: None},
            problems=_PAST,
        ),
        Operation(
            "/missions/{mission_id}",
            answers.mission,
            "One mission",
            parameters=(*of_one, *takes.MISSION),
            answers={200: View, 304: None},
            problems=_PAST,
        ),
        Operation(
            "/missions/{mission_id}/events",
            answers.mission_events,
            "Its lines of the journal",
            parameters=(*of_one, *takes.RECORDS),
            answers={200: shapes.RecordList, 304: None},
            problems=_LATE,
        ),
        Operation(
            "/missions/{mission_id}/why",
            answers.mission_why,
            "Why it is where it is",
            parameters=(*of_one, takes.MIN_SEQ),
            answers={200: Why},
            problems=_PAST,
        ),
        Operation(
            "/diff",
            answers.diff,
            "Missions that changed between two moments, and how",
            parameters=takes.DIFF,
            answers={200: shapes.ChangeList},
            problems=_PAST,
        ),
        Operation(
            "/events",
            answers.events,
            "Every record as it comes, and those before from a sequence on",
            parameters=takes.FEED,
            media_types=shapes.FEED,
            problems=NO_MISSION,
        ),
        Operation("/stats", answers.stats, "The counts", answers={200: shapes.Stats}),
    ]
