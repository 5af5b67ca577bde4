"""Masking of phone numbers in all output to stderr."""

import io
import sys
from typing import TextIO

from worker.render.masking import Mask

__all__ = ["MaskedStream"]


class MaskedStream(io.BufferedIOBase):
    """A stream that masks the phone numbers in each line, and writes the line to another stream.

    A flush masks and writes the incomplete line.
    """

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self._text = stream  # a reference, as a garbage-collected text stream closes its buffer
        self._stream = stream.buffer
        self._mask = mask
        self._incomplete = b""

    @classmethod
    def install(cls, mask: Mask) -> None:
        """Replace `sys.stderr` by a masked stream, if the process has a stderr."""
        if sys.stderr is not None:
            stream = cls(sys.stderr, mask)
            sys.stderr = io.TextIOWrapper(
                stream, encoding=sys.stderr.encoding, errors=sys.stderr.errors, line_buffering=True
            )

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Mask and write the complete lines of the data received so far."""
        *complete_lines, self._incomplete = (self._incomplete + bytes(data)).split(b"\n")
        for line in complete_lines:
            self._stream.write(self._mask_line(line) + b"\n")
        return len(data)

    def flush(self) -> None:
        """Mask and write all data received so far, and flush the stream."""
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
        """Return the file descriptor of the stream."""
        return self._stream.fileno()

    def _mask_line(self, line: bytes) -> bytes:
        return self._mask.line(line.decode(errors="surrogateescape")).encode(errors="surrogateescape")
