"""The kind `command`, with real programs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import SetupError
from services.executor.context import Reject
from services.executor.kinds.command import CommandFailed
from services.executor.outside import programs
from services.executor.outside.programs import Programs
from tests.support.documented import ROOT
from tests.support.eventually import eventually, eventually_sync
from tests.support.kind_calls import KindCall
from tests.support.up import is_alive

ENTRIES = f"""say=/bin/echo hello, echo=/bin/echo "two words" ..., count=/usr/bin/wc -c, sh=/bin/sh -c ...,
python={sys.executable} -c ..., env=/usr/bin/env, pwd=/bin/pwd"""


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MISSIONS_COMMANDS", ENTRIES.replace("\n", " "))
    monkeypatch.setenv("MISSIONS_COMMAND_ENV", "OF_USE")
    programs.configured.cache_clear()
    yield
    programs.configured.cache_clear()


async def test_a_listed_program_gives_its_output() -> None:
    assert await KindCall("command", name="say").result() == {
        "exit_code": 0, "stdout": "hello\n", "stderr": "", "truncated": False,
    }  # fmt: skip


async def test_words_are_added_as_they_are_and_meet_no_shell() -> None:
    words = ["$HOME", "a b", "; ls", "*", "-n"]
    result = await KindCall("command", name="echo", args=words).result()
    assert result["stdout"] == "two words $HOME a b ; ls * -n\n"


async def test_a_program_without_dots_takes_no_words() -> None:
    with pytest.raises(Reject, match=r"takes no args: end its entry in MISSIONS_COMMANDS with \.\.\."):
        await KindCall("command", name="say", args=["more"]).result()


async def test_stdin_reaches_the_program() -> None:
    result = await KindCall("command", name="count", stdin="é" * 30_000).result()
    assert result["stdout"].split() == ["60000"]


async def test_a_program_that_reads_no_stdin_does_not_mind() -> None:
    assert (await KindCall("command", name="say", stdin="x" * 65_000).result())["exit_code"] == 0


async def test_an_exit_code_fails_with_the_end_of_stderr() -> None:
    with pytest.raises(CommandFailed, match=r"(?s)^sh ended with exit code 3: .*the end$") as caught:
        await KindCall("command", name="sh", args=["seq 100000 >&2; echo the end >&2; exit 3"]).result()
    assert len(str(caught.value)) < 2_000


async def test_a_signal_is_named() -> None:
    with pytest.raises(CommandFailed, match="ended with signal SIGABRT"):
        await KindCall("command", name="sh", args=["kill -ABRT $$"]).result()


async def test_output_is_bounded_and_says_so() -> None:
    result = await KindCall("command", name="sh", args=["head -c 50000000 /dev/zero"]).result()
    assert result["truncated"]
    assert len(result["stdout"]) < 66_000
    result = await KindCall("command", name="sh", args=["head -c 50000 /dev/zero | tr '\\0' a"]).result()
    assert (result["truncated"], len(result["stdout"])) == (False, 50_000)


async def test_bytes_that_are_no_text_are_replaced() -> None:
    result = await KindCall("command", name="sh", args=[r"printf 'a\377b'"]).result()
    assert result["stdout"] == "a\ufffdb"


async def test_only_listed_variables_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hidden")
    monkeypatch.setenv("OF_USE", "yes")
    result = await KindCall("command", name="env").result()
    names = {line.partition("=")[0] for line in result["stdout"].splitlines()}
    assert (
        {"OF_USE", "HOME", "TMPDIR", "PATH"}
        <= names
        <= {"OF_USE", "HOME", "TMPDIR", *programs.Programs({}).environment}
    )


async def test_each_run_has_an_empty_directory_that_is_removed() -> None:
    folder = Path((await KindCall("command", name="sh", args=["ls -A; echo x > file; pwd"]).result())["stdout"].strip())
    assert folder.parent.name.startswith("missions-commands-")
    assert not is_there(folder)


def is_there(path: Path) -> bool:
    return path.exists()


async def test_the_last_line_is_progress() -> None:
    call = KindCall("command", name="sh", args=["printf 'one\\ntwo\\n\\n'"])
    await call.result()
    said = call.said()
    assert said is not None
    assert said.progress is not None
    assert (said.progress.done, said.progress.note) == (9, "two")


async def test_what_a_program_leaves_behind_ends_with_it() -> None:
    async with asyncio.timeout(10):
        result = await KindCall("command", name="sh", args=["sleep 600 & echo $!"]).result()
    pid = int(result["stdout"])
    await eventually(lambda: not is_alive(pid))


@pytest.mark.parametrize("deaf", ["", "trap '' TERM; "])
async def test_cancelling_ends_all_of_it_by_force_where_needed(deaf: str) -> None:
    call = KindCall("command", name="sh", args=[f"{deaf}sleep 600 & echo $! $$; while :; do wait; sleep 1; done"])
    running = asyncio.ensure_future(call.result())
    said = await eventually(call.said)
    assert said.progress is not None
    pids = [int(pid) for pid in said.progress.note.split()]
    assert all(map(is_alive, pids))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(lambda: not any(map(is_alive, pids)))


async def test_a_program_has_no_core_file_and_gets_no_privileges() -> None:
    result = await KindCall("command", name="sh", args=["ulimit -c; grep NoNewPrivs /proc/self/status"]).result()
    assert result["stdout"].split() == ["0", "NoNewPrivs:", "1"]


async def test_a_closed_pipe_ends_a_program_as_in_a_shell() -> None:
    result = await KindCall("command", name="sh", args=["yes | head -n 1"]).result()
    assert (result["stdout"], result["stderr"]) == ("y\n", "")


async def test_without_settings_it_is_off_and_says_how_to_switch_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISSIONS_COMMANDS")
    programs.configured.cache_clear()
    with pytest.raises(Reject, match="no command may be run yet: list them in MISSIONS_COMMANDS, for example"):
        await KindCall("command", name="say").result()


async def test_another_name_is_rejected_with_those_that_are_there() -> None:
    with pytest.raises(Reject, match=r"'rm' is not in MISSIONS_COMMANDS; there are: count, echo"):
        await KindCall("command", name="rm").result()


@pytest.mark.parametrize(
    "entry",
    ["ls", "=/bin/ls", "a=", "a=ls", "a=./ls", "a=/bin", "a=/bin/nothing-there", "a=/bin/ls '", "a b=/bin/ls", "a=..."],
)
def test_an_entry_that_cannot_work_is_refused(entry: str) -> None:
    with pytest.raises(SetupError, match="MISSIONS_COMMANDS"):
        Programs.parse([entry])


def test_a_name_may_stand_once() -> None:
    with pytest.raises(SetupError, match="twice"):
        Programs.parse(["a=/bin/ls", "a=/bin/echo"])


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_no_descriptor_is_left() -> None:
    await KindCall("command", name="say").result()
    before = open_descriptors()
    for _ in range(5):
        await KindCall("command", name="say").result()
    await eventually(lambda: open_descriptors() <= before)


PARENT = """
import asyncio, sys
from tests.support.kind_calls import KindCall
async def main():
    call = KindCall("command", name="sh", args=["sleep 600 & echo $! $$; wait"])
    running = asyncio.ensure_future(call.result())
    while not (said := call.said()):
        await asyncio.sleep(0.01)
    print(said.progress.note, flush=True)
    await running
asyncio.run(main())
"""


def test_kill_9_of_the_executor_ends_all_of_a_program() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    eventually_sync(lambda: not any(map(is_alive, pids)))
