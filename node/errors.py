"""Everything that can go wrong, and what the node does about it.

NodeError
├── ConfigError      refuse to start (exit 1)
├── StudyError       say so in the result; trying again would not help
│   ├── Unreadable   an object whose bytes are not what they claim to be
│   │   └── OfNoStudy  a whole object that is nobody's: it is kept aside, and acknowledged
│   └── Held         the study is kept and nothing is sent until a person has looked
├── ModelError       try again a few times, then answer "not analysed"
├── InferenceUnavailable  no child to ask: the machine's, waited for, and against no study
├── NoRoom           the disk is nearly full: nothing is taken until there is room again
├── Superseded       somebody else, or a newer version, has this work: stop quietly
└── DeliveryError    try again with growing delay
    ├── Unreached    nobody answered at all: what waits goes as soon as somebody does
    │   └── Unsent   and nothing can have arrived
    └── Unsupported  the destination does not offer this service: do without it

The class decides what happens; nobody passes `retry=True`. Messages say what, where,
what was expected and what to do, and never quote patient data.
"""


class NodeError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(NodeError):
    """The configuration, a manifest or a weights file cannot be used."""


class StudyError(NodeError):
    """The study itself cannot be analysed."""


class Unreadable(StudyError):  # noqa: N818 - the state of an object, not a failure of ours
    """An object that is damaged, or is not what it says it is."""


class OfNoStudy(Unreadable):
    """An object that belongs to no patient, and so to no study, such as a hanging protocol."""


class Held(StudyError):  # noqa: N818 - an answer, not a failure
    """Analysing or sending would be a guess about who the patient is."""


class ModelError(NodeError):
    """Inference failed on an image that looked fine."""


class InferenceUnavailable(NodeError):  # noqa: N818 - a state of the machine
    """No inference process can be started, or inference is shutting down: no image's fault."""


class NoRoom(NodeError):  # noqa: N818 - a state of the machine, and the sender's turn to wait
    """There is less free space than the configuration wants kept free."""


class Superseded(NodeError):  # noqa: N818 - an answer, not a failure
    """The work belongs to a later attempt or a later study version."""


class DeliveryError(NodeError):
    """A destination did not take an object."""


class Unreached(DeliveryError):  # noqa: N818 - a state of the destination, or of the way to it
    """A destination could not be asked: it was not reached, or nothing was answered."""


class Unsent(Unreached):
    """Nothing of what was to be sent can have arrived: there was no connection."""


class Unsupported(DeliveryError):  # noqa: N818 - an answer, not a failure
    """The destination does not offer this service."""
