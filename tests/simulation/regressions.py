"""Seeds that failed once, each with the defect that it showed. They always run.

The scenario of a seed depends on the generator and changes with it. Therefore a unit test covers each defect too. The
seeds stay because any scenario is worth a run.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["REGRESSIONS"]

REGRESSIONS: Final[Mapping[int, str]] = {
    # with the current generator
    41: "what a dead run left open stayed so where the next run had nothing to write",
    47: "as 41, with numbers that had no outcome",
    106: "a number that a shared look had shown changed by a person was written all the same",
    291: "as 106",
    436: "as 106",
    229: "an account as desired was refused for what a dead run had taken from it",
    790: "as 229",
    650: "a ledger that broke while all stopped printed a traceback",
    1871: "as 650, with a full disk",
    1084: "the model's own mistake: a run that finds all of a dead run's plan done has ended that plan",
    20017: "a write that a look had called lost landed after it, and no longer counted for the thresholds",
    2615: "a waiting write overruled a change that a read had shown, once others had set the number back",
    3322: "the model's own mistake: a number that one read lacks is not missing yet",
    55474: "a number that the read at the end of an outage showed changed was written again",
    57966: "as 55474",
    55922: "a plan was applied after another run wrote a number of it, whose intent was older than the plan",
    5877: "two reads that lacked a number, with a failed read between them, did not count as its removal",
    71396: "as 5877",
    74925: "the model's own mistake: a saved plan that is refused after a read reports what it observed when created",
    77794: "as 74925, with a plan that failed after a read",
    82942: "as 55922, with a response whose time the ledger does not record",
    63684: "a number that a look had shown changed was written again once somebody had put it back",
    # with earlier generators
    28: "as 41",
    50: "as 41, with a crash after the last write",
    34: "as 106, with a number that was removed",
    101: "as 106, with a number that a person had set as desired",
    261: "as 106, in the first run",
    114: "a number that others set as desired during the retries of a 429 had no outcome in the ledger",
    2748: "a run that died while it noted an account that it could not read left that open for ever",
    341: "the model's own mistake: a write whose intent was on its way to the disk may leave into a hold",
    886: "the model's own mistake: a run that died after its account was noted as done has not died for the account",
    2341: "as 886",
    3586: "the model's own mistake: an account that is not pinned may be taken for another one",
    7248: "the model's own mistake: a deadline too short for the account's quota",
}
"""Why, by seed."""
