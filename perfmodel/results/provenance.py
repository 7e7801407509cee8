"""What a result rests on, so that it can be made again."""

from __future__ import annotations

import datetime
import hashlib
import json
from typing import Any

import attrs

from perfmodel import __version__


def spec_digest(spec: Any) -> str:
    """SHA-256 of a spec's content, the same wherever its file stands."""
    text = json.dumps(attrs.asdict(spec), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def provenance(world: str, specs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Provenance of one result.

    Parameters
    ----------
    world : str
        ``simulated`` or ``measured``.
    specs : dict
        The specs that went in, by what they are; their digests are kept.
    **more
        Further facts, such as the seed.
    """
    return {
        "world": world,
        "perfmodel": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "sha256": {name: spec_digest(spec) for name, spec in specs.items()},
        **more,
    }
