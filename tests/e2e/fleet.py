"""The fleet of `tests/support/fleet_model.py` on one sandbox, with a folder for each world."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock

from tests.e2e.conftest import Command, Served
from tests.support.fleet_model import FAILING, LOST, WORLDS, Number
from worker.sandbox import Fault, Sandbox, SandboxAccount, SandboxNumber
from worker.sandbox.faults import Faults

__all__ = ["Fleet"]

_HEADS: Final = {
    "main": "",
    "shop": "account: shop\ncredentials: {api_key: {env: SHOP_KEY}, api_secret: {env: SHOP_SECRET}}\n",
}


class Fleet:
    """One sandbox for all rows, because ledgers contain its address, and a template folder for each world."""

    def __init__(self, folder: Path, quick: Path) -> None:
        self.accounts = {
            "main": SandboxAccount.of({}, limit=99),
            "shop": SandboxAccount.of(
                {}, limit=99, account_id="777", api_key="NCSSHOP", api_secret="shop-secret-0123456789"
            ),
        }
        self.served = Served(Sandbox(tuple(self.accounts.values()), rate_limit=None))
        self.served.start()
        self._folder = folder
        self._quick = quick
        self._templates: dict[str, Path] = {}

    @contextmanager
    def world(self, name: str, folder: Path, files: str = "same") -> Iterator[Command]:
        """Provide the command in a folder with the ledger of the first run, and set the state of the accounts.

        The folder `d` contains the new files, or those of the first run if `files` is `reverted`, or none if `moved`;
        `elsewhere` is a copy. `saved.json` is a plan of the new files, and `run` contains the id of the first run.
        """
        sandbox = self.served.sandbox
        sandbox._faults = Faults("calm", 0)  # the previous row may have left faults
        if name not in self._templates:
            self._templates[name] = self._folder / name
            self._prepare(self._command(self._folder / name), WORLDS[name])
        shutil.copytree(self._templates[name], folder, dirs_exist_ok=True)
        command = self._command(folder)
        if files == "reverted":
            _write(command, "then", WORLDS[name])
        shutil.copytree(folder / "d", folder / "elsewhere")
        if files == "moved":
            shutil.rmtree(folder / "d")
        self._set("seen", WORLDS[name])
        sandbox.wire.clear()
        if name == "failing":
            sandbox.script(FAILING, "PUT", [Fault.NOT_WRITABLE])
        if name == "lost":
            sandbox.script(LOST, "PUT", [Fault.RESET_AFTER])
        if name == "unreadable":
            command.environment["SHOP_SECRET"] = "another-secret-0123456789"
        with ExitStack() as held:
            for path in (folder / "state/senderid/locks").iterdir() if name == "locked" else ():
                held.enter_context(FileLock(path))
            yield command

    def _command(self, folder: Path) -> Command:
        folder.mkdir(exist_ok=True)
        command = Command(folder, self._quick).at(self.served.sandbox, self.accounts["main"])
        command.environment |= {"SHOP_KEY": "NCSSHOP", "SHOP_SECRET": "shop-secret-0123456789"}
        return command

    def _prepare(self, command: Command, numbers: Mapping[str, Number]) -> None:
        for name, most in (("config/worker.yaml", 9), ("strict.yaml", 0)):
            command.write(name, f"safety: {{max_deactivations: {most}}}\nretry: {{base_seconds: 0.01}}\n")
        table = "".join(
            f"{phone},{number.seen}\n" for phone, number in WORLDS["calm"].items() if number.account == "main"
        )
        command.write("numbers.csv", f"phone,status\n{table}")
        self._set("before", numbers)
        _write(command, "then", numbers)
        result = command("apply", "--yes", "-f", "d", "--format", "json")
        assert result.returncode == 0, result.stderr
        command.write("run", json.loads(result.stdout)["run_id"])
        _write(command, "now", numbers)
        self._set("seen", {phone: WORLDS["calm"].get(phone, number) for phone, number in numbers.items()})
        saved = command("plan", "-f", "d", "--out", "saved.json")
        assert saved.returncode == 0, saved.stderr

    def _set(self, time: str, numbers: Mapping[str, Number]) -> None:
        for name, account in self.accounts.items():
            for phone in list(account.numbers):
                account.remove(phone)
            for phone, number in numbers.items():
                if number.account == name and (status := getattr(number, time)) is not None:
                    account.numbers[phone] = SandboxNumber(phone, status)
                    account.switch(phone, status)


def _write(command: Command, time: str, numbers: Mapping[str, Number]) -> None:
    for name, head in _HEADS.items():
        listed = [(phone, _line(number, time)) for phone, number in numbers.items() if number.account == name]
        lines = "".join(f"  {phone}: {line}\n" for phone, line in listed if line is not None)
        command.write(f"d/{name}.yaml", f"version: 1\n{head}numbers:\n{lines}")


def _line(number: Number, time: str) -> str | None:
    line: str | None = getattr(number, time)
    texts = "".join(f", {key}: {text}" for key, text in (("owner", number.owner), ("note", number.note)) if text)
    if line is None or not texts:
        return line
    return f"{{{line[1:-1] if line.startswith('{') else f'status: {line}'}{texts}}}"
