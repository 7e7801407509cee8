"""Results as one HTML page that needs nothing else: no network, and a few lines of script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from perfmodel import __version__
from perfmodel.errors import InputError, Problem
from perfmodel.report.comparison import comparison_section
from perfmodel.report.parts import Section
from perfmodel.studies.compare import Comparison

PAGE_NAME = "index.html"


def render_sections(sections: Sequence[Section], command: str) -> str:
    """The page's text, the same for the same sections and command."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("perfmodel.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    loader = environment.loader
    assert loader is not None
    script = loader.get_source(environment, "sort.js")[0]
    # The browser runs this script and no other, whatever names in a result look like.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("report.html").render(
        sections=sections,
        command=command,
        version=__version__,
        script=Markup(script),  # noqa: S704 - a file of our own
        digest=digest,
    )


def render(comparison: Comparison, command: str) -> str:
    """The page of one comparison."""
    return render_sections([comparison_section(comparison)], command)


def write_sections(sections: Sequence[Section], folder: Path, command: str, key: str) -> Path:
    """Write sections as one self-contained HTML page.

    Parameters
    ----------
    sections : sequence of Section
    folder : Path
        Where to put it; made if it is not there. A page that stands there is replaced.
    command : str
        What the reader runs to make the page again.
    key : str
        The option that named the folder.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If `folder` is a file or cannot be written.
    """
    page = folder / PAGE_NAME
    text = render_sections(sections, command).encode("utf-8", "replace")
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(Problem(f"{folder} is a file; name a folder", key=key))
        folder.mkdir(parents=True, exist_ok=True)
        page.write_bytes(text)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        message = f"cannot write {page}: {reason}; name a folder that you can write"
        raise InputError(Problem(message, key=key)) from None
    return page


def write_report(comparison: Comparison, folder: Path, command: str) -> Path:
    """Write one comparison as a page; see `write_sections`."""
    return write_sections([comparison_section(comparison)], folder, command, "--report")
