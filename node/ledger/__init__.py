"""Our tables and every transaction on them: the truth about each study.

Every read-decide-write first locks the study's row: FOR UPDATE on PostgreSQL, on SQLite a
transaction that begins with BEGIN IMMEDIATE. Times are the database's, never the process's.
Whoever commits work says which attempt he is; an attempt that is no longer the current one
changes nothing (Superseded).

`Ledger` is the database. What is done on it is in parts, one for each who does it, and each made
of the ledger: who needs `Receiving` asks for it, and for no more.
"""

from __future__ import annotations

from node.ledger.alarms import (
    AlarmedStudy,
    Alarming,
    AlarmNotice,
    LateChannel,
    NoticeStanding,
    RaisedAlarm,
    Trouble,
)
from node.ledger.asking import AskedBack, Asking, FileOfImage
from node.ledger.backing_up import LEASE_S, BackingUp, LastBackup, NamedFile, Snapshot
from node.ledger.by_hand import ByHand, Seen
from node.ledger.checking import CheckedFile, Checking
from node.ledger.clock import now, utc
from node.ledger.coming_back import COMES_BACK, missing_words
from node.ledger.committing import Committing, KeptObject, ObjectAskedFor, RequestTaken
from node.ledger.connections import is_trouble
from node.ledger.damaged import DamagedObject, damaged_in
from node.ledger.database import (
    DEAD_AFTER_S,
    Ledger,
    OutcomeUnknown,
    after_commit,
    unless_recorded,
)
from node.ledger.delivering import Delivering
from node.ledger.exam_scores import ExamScore, ExamScores
from node.ledger.examination import Examination, examine, release_of_tables
from node.ledger.filing import Filing
from node.ledger.forgetting import Forgetting
from node.ledger.going import GoingFile, StoredFile
from node.ledger.hurrying import PROBE_AFTER_S, Hurrying
from node.ledger.keeping import Keeping
from node.ledger.levels import StudyLevels
from node.ledger.messages import TOLD_NOTHING, Letter, MessageEnd, Messages, words_of_message
from node.ledger.nodes import Ill, Nodes, Presence
from node.ledger.outstanding import (
    Excluded,
    HeldStudy,
    Outstanding,
    Stranded,
    Unfinished,
)
from node.ledger.owed import why_owed
from node.ledger.packages import KnownPackages, PackageVersion
from node.ledger.peers import PeerNote, Peers
from node.ledger.people import PASSWORD_CHARACTERS, People, User
from node.ledger.processing import Processing
from node.ledger.receiving import Receiving
from node.ledger.records import (
    Again,
    Arrival,
    ArrivalPart,
    BuiltReport,
    Closing,
    DeliveryEnd,
    Enqueue,
    Filed,
    Finished,
    Former,
    Job,
    Kept,
    Outcome,
    Patience,
    PlannedAnalysis,
    Received,
    Recorded,
    Shipment,
    StudyArriving,
    Triaged,
    Withdrawal,
    Work,
    parse_view,
)
from node.ledger.remembering import RememberedStudy, Remembering
from node.ledger.renaming import NAME_COLUMNS, Names, Waiting
from node.ledger.retaining import (
    BEGINNING,
    Portion,
    Readers,
    Removable,
    Removal,
    Retaining,
    StudyPlace,
    Unlinking,
)
from node.ledger.rows import GIVE_UP_AFTER, QUARANTINE_AFTER, named_objects, subjects_of
from node.ledger.scores import KeptScores
from node.ledger.settling import Claiming, Settling
from node.ledger.states import (
    NOT_TAKEN,
    CommitmentState,
    DeliveryState,
    DispatchState,
    HeldBecause,
    InstanceState,
    MessageKind,
    Mode,
    NoticeEvent,
    NoticeState,
    OwnPart,
    Role,
    Stage,
    StudyState,
    VersionState,
    WebRole,
)
from node.ledger.sweeping import DELAY_PER_CRASH_S, Sweeping
from node.ledger.telling import GivenLevel, NewMessage, Situation, StudyAsked, Telling, ToldBefore

__all__ = [
    "BEGINNING",
    "COMES_BACK",
    "DEAD_AFTER_S",
    "DELAY_PER_CRASH_S",
    "GIVE_UP_AFTER",
    "LEASE_S",
    "NAME_COLUMNS",
    "NOT_TAKEN",
    "PASSWORD_CHARACTERS",
    "PROBE_AFTER_S",
    "QUARANTINE_AFTER",
    "TOLD_NOTHING",
    "Again",
    "AlarmNotice",
    "AlarmedStudy",
    "Alarming",
    "Arrival",
    "ArrivalPart",
    "AskedBack",
    "Asking",
    "BackingUp",
    "BuiltReport",
    "ByHand",
    "CheckedFile",
    "Checking",
    "Claiming",
    "Closing",
    "CommitmentState",
    "Committing",
    "DamagedObject",
    "Delivering",
    "DeliveryEnd",
    "DeliveryState",
    "DispatchState",
    "Enqueue",
    "ExamScore",
    "ExamScores",
    "Examination",
    "Excluded",
    "FileOfImage",
    "Filed",
    "Filing",
    "Finished",
    "Forgetting",
    "Former",
    "GivenLevel",
    "GoingFile",
    "HeldBecause",
    "HeldStudy",
    "Hurrying",
    "Ill",
    "InstanceState",
    "Job",
    "Keeping",
    "Kept",
    "KeptObject",
    "KeptScores",
    "KnownPackages",
    "LastBackup",
    "LateChannel",
    "Ledger",
    "Letter",
    "MessageEnd",
    "MessageKind",
    "Messages",
    "Mode",
    "NamedFile",
    "Names",
    "NewMessage",
    "Nodes",
    "NoticeEvent",
    "NoticeStanding",
    "NoticeState",
    "ObjectAskedFor",
    "Outcome",
    "OutcomeUnknown",
    "Outstanding",
    "OwnPart",
    "PackageVersion",
    "Patience",
    "PeerNote",
    "Peers",
    "People",
    "PlannedAnalysis",
    "Portion",
    "Presence",
    "Processing",
    "RaisedAlarm",
    "Readers",
    "Received",
    "Receiving",
    "Recorded",
    "RememberedStudy",
    "Remembering",
    "Removable",
    "Removal",
    "RequestTaken",
    "Retaining",
    "Role",
    "Seen",
    "Settling",
    "Shipment",
    "Situation",
    "Snapshot",
    "Stage",
    "StoredFile",
    "Stranded",
    "StudyArriving",
    "StudyAsked",
    "StudyLevels",
    "StudyPlace",
    "StudyState",
    "Sweeping",
    "Telling",
    "ToldBefore",
    "Triaged",
    "Trouble",
    "Unfinished",
    "Unlinking",
    "User",
    "VersionState",
    "Waiting",
    "WebRole",
    "Withdrawal",
    "Work",
    "after_commit",
    "damaged_in",
    "examine",
    "is_trouble",
    "missing_words",
    "named_objects",
    "now",
    "parse_view",
    "release_of_tables",
    "subjects_of",
    "unless_recorded",
    "utc",
    "why_owed",
    "words_of_message",
]
