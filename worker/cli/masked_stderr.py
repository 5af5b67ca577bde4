"""What is told on stderr, with the digits of numbers hidden: log lines, warnings, questions and errors alike."""

import io
import sys
from typing import TextIO

from worker.render.masking import Mask

__all__ = ["MaskedStream"]


class MaskedStream(io.BufferedIOBase):
    """A stream before stderr that masks line by line. A line that is not over yet is masked when it is flushed."""

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self._text = stream  # which would close what is behind it when it goes
        self._stream = stream.buffer
        self._mask = mask
        self._begun = b""

    @classmethod
    def draw(cls, mask: Mask) -> None:
        """Put one before this process' stderr, where there is one."""
        if sys.stderr is not None:
            veil = cls(sys.stderr, mask)
            sys.stderr = io.TextIOWrapper(
                veil, encoding=sys.stderr.encoding, errors=sys.stderr.errors, line_buffering=True
            )

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Take bytes, and hand on the lines that are whole."""
        *whole, self._begun = (self._begun + bytes(data)).split(b"\n")
        for line in whole:
            self._stream.write(self._masked(line) + b"\n")
        return len(data)

    def flush(self) -> None:
        """Hand on everything."""
        if not self.closed:
            begun, self._begun = self._begun, b""
            self._stream.write(self._masked(begun))
            self._stream.flush()

    def writable(self) -> bool:
        """That it is for writing."""
        return True

    def isatty(self) -> bool:
        """Whether a person reads it at once."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor behind it, which nobody writes to."""
        return self._stream.fileno()

    def _masked(self, line: bytes) -> bytes:
        return self._mask.line(line.decode(errors="surrogateescape")).encode(errors="surrogateescape")
