"""Sandbox: a simulated sender-number API on a loopback address, with the checks of the real API and seeded faults."""

from worker.sandbox.faults import PROFILES, Fault
from worker.sandbox.server import Request, Sandbox
from worker.sandbox.state import SandboxAccount, SandboxNumber, generate, load_state

__all__ = ["PROFILES", "Fault", "Request", "Sandbox", "SandboxAccount", "SandboxNumber", "generate", "load_state"]
