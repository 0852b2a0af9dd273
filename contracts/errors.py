"""Every exception of ours, in one tree.

MissionsError                    anything we raise on purpose
├── ContractError                what was said cannot be understood
│   ├── DecodeError              not a message of ours: bad JSON, wrong shape, unknown status
│   ├── TooLarge                 over the size or depth that every entrance enforces
│   ├── InvalidIdentifier        not a token that may stand in a subject
│   └── IllegalTransition        a status that may not follow the one before
├── WriteError                   a record that was not stored
│   ├── Lost                     somebody else wrote first; the write was refused for good
│   ├── StreamFull               the broker has no room; nothing was stored
│   └── MaybeStored              no answer in time; the record may or may not be stored
├── BrokerError                  NATS is not what we need
│   ├── BrokerUnreachable
│   ├── BrokerUnfit              too old, JetStream off
│   ├── PermissionDenied
│   └── TopologyError            a stream or consumer is missing or differs
├── JournalError                 the whiteboard's journal did not take a record
│   ├── NotAppended              nothing of the batch is there: try again later
│   ├── JournalBroken            nobody knows what is on disk: start again and read it back
│   └── JournalLocked            another process writes this journal
├── SetupError                   a setting, a port, a file, a binary
├── WhiteboardUnreachable        nobody answers at its URL, or not as a whiteboard does
├── NotFound                     no such mission, or no such artifact
│   └── Gone                     it was there, and was removed
├── ArtifactDamaged              what the object store gave back is not what was stored
└── WaitOver                     the outcome did not come in time

`exit_code` is what the command line ends with (sysexits.h); the message says what to do.
"""

from __future__ import annotations

from typing import ClassVar


class MissionsError(Exception):
    """Something went wrong that Missions understands."""

    exit_code: ClassVar[int] = 70

    def __str__(self) -> str:
        """Fall back to the docstring, so that no error is ever empty."""
        return super().__str__() or (self.__doc__ or type(self).__name__).splitlines()[0]


class ContractError(MissionsError):
    """The message breaks the contract."""

    exit_code = 65


class DecodeError(ContractError):
    """The bytes are not a message of ours; `pointer` (RFC 6901) says where."""

    def __init__(self, message: str = "", *, pointer: str = "") -> None:
        super().__init__(f"{message} (at {pointer})" if pointer else message)
        self.pointer = pointer


class TooLarge(ContractError):
    """The message is over a limit that holds at every entrance."""


class InvalidIdentifier(ContractError):
    """The identifier may not stand in a subject: 1 to 64 of A-Z a-z 0-9 _ -."""


class IllegalTransition(ContractError):
    """That status may not follow the one before."""


class WriteError(MissionsError):
    """The record was not stored, or nobody knows."""

    exit_code = 75


class Lost(WriteError):
    """Another writer was first: nothing was stored, and this writer must stop.

    `head_event_id` and `head_seq` name the record that stands; they are empty and 0 where it is unknown.
    """

    def __init__(self, subject: str, *, head_event_id: str = "", head_seq: int = 0) -> None:
        super().__init__(f"lost the write on {subject}: sequence {head_seq} holds {head_event_id or 'another record'}")
        self.head_event_id = head_event_id
        self.head_seq = head_seq


class StreamFull(WriteError):
    """The stream is full: nothing was stored. Make room or raise its max_bytes."""


class MaybeStored(WriteError):
    """No acknowledgement came in time: the record may be stored. Repeat the same write to find out."""


class BrokerError(MissionsError):
    """NATS is not what Missions needs."""

    exit_code = 78


class BrokerUnreachable(BrokerError):
    """NATS is not reachable. Start one: missions up"""

    exit_code = 69


class BrokerUnfit(BrokerError):
    """This nats-server cannot keep our promises: it is too old, or JetStream is off."""


class PermissionDenied(BrokerError):
    """The NATS user may not do that."""

    exit_code = 77


class TopologyError(BrokerError):
    """A stream or consumer is missing or differs. Run: missions setup"""


class JournalError(MissionsError):
    """The journal did not take a record."""

    exit_code = 74


class NotAppended(JournalError):
    """Nothing of the batch is in the journal; what was there before is whole. Try again."""


class JournalBroken(JournalError):
    """A sync or a repair failed, so nobody knows what is on disk: end the process, start it and read it back."""


class JournalLocked(JournalError):
    """Another process writes this journal. Stop it, or use another MISSIONS_DATA_DIR."""

    exit_code = 78


class SetupError(MissionsError):
    """Something outside NATS is not as it must be: a setting, a port, a file, a binary."""

    exit_code = 78


class WhiteboardUnreachable(MissionsError):
    """The whiteboard does not answer. Start one: missions up"""

    exit_code = 69


class NotFound(MissionsError):
    """There is no such mission."""

    exit_code = 66


class Gone(NotFound):
    """It was there, and was removed."""


class ArtifactDamaged(MissionsError):
    """What the object store gave back is not what was stored: nothing of it may be used."""

    exit_code = 74


class WaitOver(MissionsError):
    """The outcome did not come in time; the mission goes on."""

    exit_code = 75
