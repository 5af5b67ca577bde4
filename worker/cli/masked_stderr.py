"""Masking of phone numbers in all output to stderr."""

import io
import sys
from typing import TextIO

from worker.render.masking import Mask

__all__ = ["MaskedStream"]


class MaskedStream(io.BufferedIOBase):
    """A stream that masks lines and writes them to another stream. A flush masks the part of a line written so far."""

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self._text = stream  # keeps the buffer open: a collected wrapper closes it
        self._stream = stream.buffer
        self._mask = mask
        self._incomplete = b""

    @classmethod
    def install(cls, mask: Mask) -> None:
        """Replace `sys.stderr`, if there is one."""
        if sys.stderr is not None:
            stream = cls(sys.stderr, mask)
            sys.stderr = io.TextIOWrapper(
                stream, encoding=sys.stderr.encoding, errors=sys.stderr.errors, line_buffering=True
            )

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write the complete lines of the data so far."""
        *whole, self._incomplete = (self._incomplete + bytes(data)).split(b"\n")
        for line in whole:
            self._stream.write(self._mask_line(line) + b"\n")
        return len(data)

    def flush(self) -> None:
        """Write everything, and flush the stream."""
        if not self.closed:
            incomplete, self._incomplete = self._incomplete, b""
            self._stream.write(self._mask_line(incomplete))
            self._stream.flush()

    def writable(self) -> bool:
        """Return True: the stream is for writing."""
        return True

    def isatty(self) -> bool:
        """Return True if the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self._stream.fileno()

    def _mask_line(self, line: bytes) -> bytes:
        return self._mask.line(line.decode(errors="surrogateescape")).encode(errors="surrogateescape")
