"""The simulated sender-number API: real sockets on loopback, the real one's checks, and faults on a seed."""

from worker.sandbox.faults import PROFILES, Fault
from worker.sandbox.server import Request, Sandbox
from worker.sandbox.state import SandboxAccount, SandboxNumber, generate, load_state

__all__ = ["PROFILES", "Fault", "Request", "Sandbox", "SandboxAccount", "SandboxNumber", "generate", "load_state"]
