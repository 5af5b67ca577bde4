"""Paths of a repository in relation to the desired-state files and folders of a job."""

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["any_changed", "in_repository", "is_within"]


def is_within(path: str, roots: Iterable[str]) -> bool:
    """Return True if a path is one of `roots` or below one of them. Links are not followed."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    return any(place.is_relative_to(os.path.abspath(root)) for root in roots)  # noqa: PTH100 - as above


def any_changed(changed: Iterable[str], roots: Iterable[str]) -> bool:
    """Return True if a changed file, by its path in the repository, is in one of the roots."""
    places = [place for root in roots for place in {in_repository(root), in_repository(Path(root).resolve())} if place]
    return any(Path(name).is_relative_to(place) for name in changed for place in places)


def in_repository(path: str | Path) -> Path | None:
    """Return a path relative to its repository, or to the working directory; None if it is outside both."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - as above
    here = Path(os.path.abspath("."))  # noqa: PTH100 - as above
    top = next((folder for folder in (place, *place.parents) if (folder / ".git").exists()), here)
    return place.relative_to(top) if place.is_relative_to(top) else None
