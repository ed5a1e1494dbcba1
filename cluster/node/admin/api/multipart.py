"""The file of an HTML form (RFC 7578): how a browser imports definitions.

Law: only the one part that is asked for is taken; what is no sound form has none.
"""

from __future__ import annotations

from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final

FORM: Final = "multipart/form-data"


def read_form_part(content_type: str, body: bytes, name: str) -> bytes | None:
    """The octets of the part; None if there is none of that name."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    form: Message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not form.is_multipart():
        return None
    for part in form.walk():
        if part.get_param("name", header="content-disposition") == name:
            payload = part.get_payload(decode=True)
            return payload if isinstance(payload, bytes) else None
    return None
