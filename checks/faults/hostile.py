"""Hostile files: nothing in them is run, nothing outside the folder is written, nothing of others is removed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from checks.faults import sandbox
from checks.faults.cases import links, payloads
from checks.faults.common import Options
from checks.faults.inputs import by_hand, counts, prepared

BY_HAND = {
    "pickles": payloads.pickles,
    "checkpoint configs": payloads.checkpoint_configs,
    "weights": payloads.weights,
    "states": payloads.states,
    "tokenizers": payloads.tokenizers,
    "names": payloads.names,
    "links": links.links,
    "races": links.races,
    "pages": links.pages,
}


def suite(lab: Path, options: Options) -> dict[str, Any]:
    """The counts; `lab` plays no part here."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        template = prepared(Path(folder))
        results = {}
        for name, found in BY_HAND.items():
            results[name] = counts(by_hand(found(), options.quick, template))
    return {"no_network": sandbox.NO_NETWORK, "suites": results}
