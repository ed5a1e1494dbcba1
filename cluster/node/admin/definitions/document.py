"""A definitions document as it lies in a file.

Law: what cannot be read is found before the node promises anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class DefinitionsError(Exception):
    """The document, or one object in it, cannot be carried out; one line that names it."""


def read_file(path: Path) -> Any:
    """The JSON in a file. Raises DefinitionsError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DefinitionsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DefinitionsError(f"{path}: not JSON: {error}") from None
