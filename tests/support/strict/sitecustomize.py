"""Hide the warnings of Python's dev mode about callbacks over 100 ms: slow or busy machines cause them."""

import logging

logging.getLogger("asyncio").addFilter(lambda record: not str(record.msg).startswith("Executing "))
