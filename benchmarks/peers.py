"""Run a program that the worker is compared with: `python benchmarks/peers.py bare|naive URL FILE`.

Both activate every number of a desired-state file, 32 at once, and end with 0 if all were accepted. They use nothing
of the worker.

- `bare` is a lower bound: an aiohttp loop that signs and PUTs, on uvloop, and nothing else.
- `naive` is a typical script: PyYAML reads the file, tenacity wraps each request, and structlog writes a JSON line for
  each number. It has neither ledger nor verification.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

CONCURRENCY = 32
KEY, SECRET = "NCS0123456789ABC", "0123456789ABCDEFGHIJKLMNOPQRSTUV"


def header() -> str:
    """Return the credentials header of one request."""
    date, salt = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), secrets.token_hex(16)
    signature = hmac.new(SECRET.encode(), (date + salt).encode(), hashlib.sha256).hexdigest()
    return f"HMAC-SHA256 apiKey={KEY}, date={date}, salt={salt}, signature={signature}"


async def bare(url: str, text: str) -> None:
    """Sign and PUT each number."""
    phones = iter(re.findall(r"\d{11}", text))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for phone in phones:
                headers = {"Authorization": header()}
                address = f"{url}/senderid/v1/numbers/{phone}"
                async with session.put(address, data=b'{"status":"ACTIVE"}', headers=headers) as response:
                    await response.read()

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


async def naive(url: str, text: str) -> None:
    """Read the file, PUT each number with retries, and log it."""
    import structlog
    import yaml
    from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    log = structlog.get_logger()
    numbers = yaml.safe_load(text)["numbers"]
    limit = asyncio.Semaphore(CONCURRENCY)
    async with aiohttp.ClientSession() as session:

        async def put(phone: str, status: str) -> Any:
            headers = {"Authorization": header()}
            address = f"{url}/senderid/v1/numbers/{phone}"
            async with session.put(address, json={"status": status}, headers=headers) as response:
                response.raise_for_status()
                return await response.json()

        async def write(phone: str, status: str) -> None:
            async with limit:
                began = time.perf_counter()
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(aiohttp.ClientError),
                    stop=stop_after_attempt(5),
                    wait=wait_random_exponential(max=10),
                    reraise=True,
                ):
                    with attempt:
                        await put(phone, status)
                log.info("number", phone=phone, status=status, seconds=time.perf_counter() - began)

        await asyncio.gather(*(write(str(phone), status) for phone, status in numbers.items()))


def main() -> None:
    """Run one of the two programs."""
    name, url, path = sys.argv[1:]
    text = Path(path).read_text()
    if name == "bare":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bare(url, text))
    else:
        asyncio.run(naive(url, text))


if __name__ == "__main__":
    main()
