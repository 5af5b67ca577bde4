"""Seeds that failed once, each with the defect that it showed. They always run.

The scenario of a seed depends on the generator and changes with it. Therefore a unit test covers each defect too. The
seeds stay because any scenario is worth a run.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["REGRESSIONS"]

REGRESSIONS: Final[Mapping[int, str]] = {
    # with the current generator
    41: "open entries of a crashed run stayed open if the next run had nothing to write",
    47: "as 41, with numbers that had no outcome",
    106: "a number was written although a shared read had shown a change by a user",
    291: "as 106",
    436: "as 106",
    229: "an account in its desired state was refused because of the deactivations of a crashed run",
    790: "as 229",
    650: "a ledger that failed during a stop printed a traceback",
    1871: "as 650, with a full disk",
    1084: "a defect of the model: a run that finds every change of a crashed run's plan done has finished that plan",
    20017: "a write that a read had shown as lost took effect later, and did not count for the thresholds",
    2615: "a waiting write overwrote a change that a read had shown, after other users had set the number back",
    3322: "a defect of the model: a number that one read lacks is not missing yet",
    55474: "a number that the read at the end of an outage had shown as changed was written again",
    57966: "as 55474",
    55922: "a plan was applied after another run had written one of its numbers, with an intent older than the plan",
    5877: "two reads that lacked a number, with a failed read between them, did not count as its removal",
    71396: "as 5877",
    74925: "a defect of the model: a saved plan that is refused after a read reports what it observed when created",
    77794: "as 74925, with a plan that failed after a read",
    82942: "as 55922, with a response whose time the ledger does not record",
    63684: "a number that a read had shown as changed was written again after a user had set it back",
    53117: "a write without a response was failed, not unverified, after the API refused another number's request",
    # with earlier generators
    28: "as 41",
    50: "as 41, with a crash after the last write",
    34: "as 106, with a number that was removed",
    101: "as 106, with a number that a user had set to the desired status",
    261: "as 106, in the first run",
    114: "a number that users set to the desired status during the retries of a 429 had no outcome in the ledger",
    2748: "a run that crashed while it recorded an account that it could not read left the entry open forever",
    341: "a defect of the model: a write whose intent is being committed may be sent during a pause",
    886: "a defect of the model: a run that crashed after its account was recorded has not crashed for that account",
    2341: "as 886",
    3586: "a defect of the model: an account without a pin may be taken for another one",
    7248: "a defect of the model: a deadline too short for the quota of the account",
}
"""The defect that each seed showed."""
