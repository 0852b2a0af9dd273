"""The pytest plugin: `missions_stack`, `missions_client`, and where they run. Cheap for projects that use neither."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from missions.testing.client import MissionsClient
    from missions.testing.stack import MissionStack

_DRILL = "missions_drill: breaks parts of the stack; deselect with -m 'not missions_drill'"
#: A connect that the peer cut off in the middle: nats-py drops its writer without waiting.
_CUT_OFF = "ignore:unclosed <StreamWriter transport=<_SelectorSocketTransport closing:ResourceWarning"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where the stack runs, and what it runs; each may stand in the configuration file too."""
    group = parser.getgroup("missions", "Missions")
    for name, about, default in (
        ("backend", "where the stack runs: process, containers or attach", "process"),
        ("image", "image of the services, for containers", ""),
        ("nats-image", "image of the broker, for containers", ""),
        ("nats-url", "broker to join, for attach", ""),
        ("whiteboard-url", "whiteboard to read from, for attach", ""),
        ("executors", "how many executors", "1"),
    ):
        dest = f"missions_{name.replace('-', '_')}"
        group.addoption(f"--missions-{name}", dest=dest, default=None, metavar=name.upper(), help=about)
        parser.addini(dest, f"Missions: {about}", default=default)
    group.addoption("--missions-goals", dest="missions_goals", action="append", default=None, metavar="FILE|MODULE")
    parser.addini("missions_goals", "Missions: files or modules with goals", type="args", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and a warning of nats-py that is no fault of a test."""
    config.addinivalue_line("markers", _DRILL)
    config.addinivalue_line("filterwarnings", _CUT_OFF)


@pytest.fixture(scope="session")
def missions_stack(pytestconfig: pytest.Config) -> Iterator[MissionStack]:
    """One stack for the whole run, or for each worker of pytest-xdist."""
    with _stack(pytestconfig) as stack:
        yield stack


@pytest.fixture
def missions_client(missions_stack: MissionStack) -> Iterator[MissionsClient]:
    """A conversation and a queue of this test's own, served from this process by the goals of the stack."""
    with missions_stack.conversation() as client:
        yield client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let what fails in a test with a stack carry what became of its missions, and the tails of the logs."""
    stack = getattr(item, "funcargs", {}).get("missions_stack")
    if stack is not None and stack.is_started:
        stack.talk.recent.clear()
    try:
        return (yield)
    except (Exception, pytest.fail.Exception) as error:  # the second is no Exception: `pytest.fail`, pytest-timeout
        if stack is not None and stack.is_started:
            stack.talk.explain(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Mend what a drill left broken, so that the next test finds the stack whole."""
    stack = getattr(item, "funcargs", {}).get("missions_stack")
    result = yield
    if stack is not None and stack.is_started:
        stack.mend()
    return result


def _stack(config: pytest.Config) -> MissionStack:
    from contracts.errors import SetupError  # noqa: PLC0415 - only who uses the fixture pays for it
    from missions.testing.stack import MissionStack  # noqa: PLC0415

    goals = _goals(config)
    backend = _option(config, "backend")
    if backend == "attach":
        if not _option(config, "nats_url"):
            raise SetupError("attach to what? --missions-nats-url")
        return MissionStack.attach(_option(config, "nats_url"), _option(config, "whiteboard_url") or None, *goals)
    if backend not in {"process", "containers"}:
        raise SetupError(f"--missions-backend is {backend!r}; known: process, containers, attach")
    stack = MissionStack(*goals, backend=backend, executors=int(_option(config, "executors")))
    return stack.with_images(missions=_option(config, "image") or None, nats=_option(config, "nats_image") or None)


def _option(config: pytest.Config, name: str) -> Any:
    """Return what the command line says, else the configuration file."""
    given = config.getoption(f"missions_{name}")
    return config.getini(f"missions_{name}") if given is None else given


def _goals(config: pytest.Config) -> list[str]:
    """Return modules as they are, and files by their whole path: named where pytest runs, or where its settings are."""
    given = config.getoption("missions_goals")
    folder = config.rootpath if given is None else config.invocation_params.dir
    return [str(folder / goals) if goals.endswith(".py") else goals for goals in _option(config, "goals")]
