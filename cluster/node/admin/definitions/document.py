"""A definitions document as it lies in a file.

Law: what cannot be read is found before the node promises anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.node.admin.json_text import read_json


class DefinitionsError(Exception):
    """The document, or one object in it, cannot be carried out; one line that names it."""


def read_file(path: Path) -> Any:
    """The JSON in a file. Raises DefinitionsError."""
    try:
        return read_json(path.read_bytes())
    except OSError as error:
        raise DefinitionsError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DefinitionsError(f"{path}: not JSON: {error}") from None
