"""What the steps of the demo share: a stack, ways to speak to it, and what was observed."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from contracts.errors import WaitOver
from contracts.lifecycle import TERMINAL
from missions import journal_lines
from missions.journal_lines import Line
from missions.stack import Stack

#: What takes longer went wrong.
PATIENCE_S = 15.0
_POLL_S = 0.02
CONVERSATION = "demo"


class Observation(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    ok: bool
    found: Any
    expected: Any


class Step(msgspec.Struct, frozen=True):
    """One numbered step and what was observed in it."""

    number: int
    title: str
    observations: list[Observation]

    @property
    def ok(self) -> bool:
        """Whether everything was as expected."""
        return all(observation.ok for observation in self.observations)


class Stage:
    """Speaks to the stack as a user would, over HTTP and by reading the journal. `tell` gets every line as it comes."""

    def __init__(self, stack: Stack, tell: Callable[[str], None]) -> None:
        self.stack = stack
        self.steps: list[Step] = []
        self.first = ""  #: the mission of the first steps
        self._tell = tell

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Number what is observed inside; an error in it is an observation, and the next step goes on."""
        step = Step(len(self.steps) + 1, title, [])
        self.steps.append(step)
        self._tell(f"\n[{step.number}] {title}")
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever went wrong is what the demo is there to find
            self.check("this step came to its end", f"{type(error).__name__}: {error}", "no error")

    def note(self, text: str) -> None:
        """Say what is done."""
        self._tell(f"    {text}")

    def check(self, what: str, found: Any, expected: Any) -> None:
        """Observe that something is as expected, or is not."""
        observation = Observation(what, found == expected, found, expected)
        self.steps[-1].observations.append(observation)
        for line in described(observation):
            self._tell(f"    {line}")

    def say(self, **body: Any) -> str:
        """Say something in chat and return the id of the mission it creates."""
        status, answer = self.ask(
            "POST", f"{self.stack.orchestrator_url}/chat/integrated", body | {"conversation": CONVERSATION}
        )
        if status != http.client.ACCEPTED:
            raise WaitOver(f"POST /chat/integrated answered {status}: {answer}")
        return str(answer["mission_id"])

    def command(self, **command: Any) -> None:
        """Say a command, as a chat event."""
        status, answer = self.ask(
            "POST", f"{self.stack.orchestrator_url}/chat/integrated", {"command": command, "conversation": CONVERSATION}
        )
        self.note(f"{command['kind']}: {answer}" if status != http.client.ACCEPTED else f"say {command['kind']}")

    def mission(self, mission_id: str) -> dict[str, Any]:
        """Return the mission as the whiteboard has it."""
        return self.get(f"/missions/{mission_id}")

    def get(self, path: str) -> dict[str, Any]:
        """Return what the whiteboard answers."""
        return self.ask("GET", self.stack.whiteboard_url + path)[1]

    def outcome(self, mission_id: str) -> dict[str, Any]:
        """Return the mission when it is over."""
        return self.wait_for(mission_id, lambda mission: mission["status"] in TERMINAL)

    def wait_for(self, mission_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the mission once the condition holds; raises `WaitOver`."""
        deadline = time.monotonic() + PATIENCE_S
        while "mission_id" not in (mission := self.mission(mission_id)) or not condition(mission):
            if time.monotonic() > deadline:
                raise WaitOver(f"mission {mission_id} is after {PATIENCE_S:g} s still {mission}")
            time.sleep(_POLL_S)
        return mission

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; raises `WaitOver`."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise WaitOver(f"after {PATIENCE_S:g} s still not so: {what}")
            time.sleep(_POLL_S)

    @property
    def folder(self) -> Path:
        """The folder of the journal."""
        return self.stack.journal.parent

    def journal(self) -> list[bytes]:
        """Return every line of the journal."""
        return journal_lines.read(self.folder)

    def records(self, mission_id: str) -> list[Line]:
        """Return the journal's records of one mission."""
        lines = [journal_lines.decode(line) for line in self.journal()]
        return [line for line in lines if line.mission_id == mission_id]

    @staticmethod
    def ask(method: str, url: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Ask over HTTP; return the status and the JSON that came back."""
        with answering(method, url, body) as answer:
            return answer.status, msgspec.json.decode(answer.read())


@contextmanager
def answering(method: str, url: str, body: Mapping[str, Any] | None = None) -> Iterator[http.client.HTTPResponse]:
    """Ask over HTTP, and read the answer inside."""
    netloc = urlsplit(url).netloc
    connection = http.client.HTTPConnection(netloc, timeout=PATIENCE_S)
    try:
        connection.request(method, url[len(f"http://{netloc}") :], msgspec.json.encode(body) if body else None)
        yield connection.getresponse()
    finally:
        connection.close()


def described(observation: Observation) -> list[str]:
    """Return an observation as lines: a tick and what was found, or a cross and what should have been."""
    if observation.ok:
        return [f"✓ {observation.what}: {shown(observation.found)}"]
    expected, found = shown(observation.expected), shown(observation.found)
    return [f"✗ {observation.what}", f"    expected  {expected}", f"    found     {found}"]


def shown(value: Any) -> str:
    """Return a value for a person to read: words as they are, a list of words as a sequence."""
    if isinstance(value, str):
        return value
    if value == []:
        return "none"
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return " → ".join(value)
    return msgspec.json.encode(value).decode()
