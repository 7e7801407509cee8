"""Settings of the site; `make site` builds it. The commands' page is made from the commands."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from perfmodel import __version__  # noqa: E402
from perfmodel.cli.main import app  # noqa: E402

project = "perfmodel"
author = "The perfmodel developers"
copyright = author  # noqa: A001
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = []
html_theme = "alabaster"
html_theme_options = {
    "description": "What a huge page costs on its way to swap and back",
    "page_width": "68rem",
    "sidebar_width": "15rem",
    "font_family": "system-ui, 'Liberation Sans', Arial, sans-serif",
    "head_font_family": "system-ui, 'Liberation Sans', Arial, sans-serif",
}
html_show_sourcelink = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autoclass_content = "class"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False


def write_commands(_application: object) -> None:
    """The command-line reference, from the commands' own signatures and docstrings."""
    text = app.generate_docs(output_format="markdown", recursive=True, include_hidden=False)
    # The site has a table of contents of its own.
    text = re.sub(r"## Table of Contents\n.*?\n(?=\*\*Commands)", "", text, flags=re.DOTALL)
    text = text.replace("# perfmodel\n", "# Commands\n", 1)
    text = re.sub(r"\(#perfmodel-([a-z-]+)\)", r"(#perfmodel-\1)", text)
    path = Path(__file__).parent / "reference" / "commands.md"
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(application) -> None:
    """Make what is made before pages are read."""
    application.connect("builder-inited", write_commands)
