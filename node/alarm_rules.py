"""The rules by which somebody is told that something is wrong: one line of the table each.

Light to import: who reads a configuration examines nothing. What examines a rule is a function of
`node.alarms.examining`, under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping

ALARM_RULES: Mapping[str, str] = {
    "urgent-late": "an urgent result has not arrived where it should be read, in time",
    "no-triage": "images that a model should judge come, and it judges none",
    "delivery-failing": "a destination has lacked results for some time",
    "delivery-given-up": "results are not sent any more unless a person sees to it",
    "study-held": "a study waits for a person, and nothing of it is analysed or sent",
    "not-analysed": "a study was given up by its models, or cannot be analysed",
    "disk": "a disk is nearly full, or cannot be written to",
    "sender-silent": "a sender that usually sends by now has sent nothing",
    "part-ill": "a part of the node does not work, or a node has gone silent",
    "clock": "the clocks of this machine and of the database differ",
    "certificate": "a certificate ends soon, or has ended",
    "shifted": "what a model says of a sender's exams is not as it was at first",
}
"""By the name that `[alarms] off`, the ledger and messages call it by: what it tells."""
