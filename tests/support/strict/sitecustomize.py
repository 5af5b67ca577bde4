"""Python's dev mode reports callbacks over 100 ms on stderr, and a slow or busy machine has some: leave these out."""

import logging

logging.getLogger("asyncio").addFilter(lambda record: not str(record.msg).startswith("Executing "))
