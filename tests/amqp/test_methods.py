"""The method classes: current, the same octets back, and of one mind with pamqp."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pamqp.commands
import pamqp.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.amqp import method_table, methods
from cluster.amqp.errors import ConnectionException
from cluster.amqp.generate_methods import generate
from cluster.amqp.method import Method
from cluster.amqp.method_table import MethodRow, rows
from cluster.amqp.methods import METHODS, BasicPublish
from cluster.amqp.scanner import publish_is_well_formed
from tests.amqp.client import method
from tests.amqp.test_field_table import tables

ROWS = {row.class_id << 16 | row.method_id: row for row in rows()}
short_text = st.text(max_size=60)
PLAIN_TABLES = st.dictionaries(st.text("abc-x", min_size=1, max_size=8), st.text() | st.booleans() | st.none())
BY_TYPE = {
    "bit": st.booleans(),
    "octet": st.integers(0, 2**8 - 1),
    "short": st.integers(0, 2**16 - 1),
    "long": st.integers(0, 2**32 - 1),
    "longlong": st.integers(0, 2**64 - 1),
    "shortstr": short_text,
    "longstr": st.binary(max_size=60),
    "table": tables,
}


def methods_of(row: MethodRow, types: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[Method]:
    cls = METHODS[row.class_id << 16 | row.method_id]
    return st.builds(cls, *(types[argument.wire_type] for argument in row.arguments if not argument.reserved))


any_method = st.sampled_from(list(ROWS.values())).flatmap(lambda row: methods_of(row, BY_TYPE))


def test_the_checked_in_methods_are_those_of_the_table() -> None:
    assert Path(methods.__file__).read_text() == generate()


def test_a_line_that_breaks_the_tables_law_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in ("get 70 client sink", "get 70 nobody", "get 70 client q:text"):
        monkeypatch.setattr(method_table, "TABLE", f"basic 60\n    {line}")
        with pytest.raises(ValueError, match="cannot read"):
            rows()


def test_every_method_of_pamqp_is_there_with_its_ids_and_its_marks() -> None:
    theirs = pamqp.commands.INDEX_MAPPING
    assert set(METHODS) >= set(theirs)
    assert {METHODS[key].NAME for key in set(METHODS) - set(theirs)} <= {"access.request", "access.request-ok"}
    for key, command in theirs.items():
        ours, name, synchronous = METHODS[key], getattr(command, "name"), getattr(command, "synchronous")  # noqa: B009
        assert ours.NAME.replace("-", "").lower() == name.replace("-", "").lower()
        assert synchronous == ours.SYNCHRONOUS, name


@given(any_method)
def test_a_method_comes_back_as_it_was(value: Method) -> None:
    payload = value.encode()
    assert int.from_bytes(payload[:4]) == value.KEY == value.CLASS_ID << 16 | value.METHOD_ID
    decoded = type(value).decode(payload)
    assert decoded.encode() == payload
    assert repr(decoded) == repr(value)


@given(any_method, st.integers(1, 20))
@settings(max_examples=30)
def test_a_method_cut_short_or_too_long_is_501(value: Method, extra: int) -> None:
    payload = value.encode()
    for octets in [payload[:size] for size in range(4, len(payload))] + [payload + bytes(extra)]:
        with pytest.raises(ConnectionException) as caught:
            type(value).decode(octets)
        assert caught.value.code == 501
        assert caught.value.text.startswith("FRAME_ERROR - ")
        assert (caught.value.class_id, caught.value.method_id) == (value.CLASS_ID, value.METHOD_ID)


@given(st.sampled_from(list(METHODS.values())), st.binary(max_size=80))
def test_random_arguments_are_a_method_or_501(cls: type[Method], arguments: bytes) -> None:
    payload = cls.KEY.to_bytes(4) + arguments
    try:
        cls.decode(payload).encode()
    except ConnectionException as error:
        code = error.code
    else:
        code = 501
    assert code == 501


@pytest.mark.filterwarnings("ignore:This command is deprecated:DeprecationWarning")
@given(st.data())
def test_pamqp_reads_what_we_write_and_we_read_what_it_writes(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(pamqp.commands.INDEX_MAPPING)))
    row = ROWS[key]
    plain = BY_TYPE | {
        "shortstr": st.text("abc.-_", max_size=9),
        "longstr": st.text().map(str.encode),
        "table": PLAIN_TABLES,
        "longlong": st.integers(0, 2**63 - 1),
    }
    ours = data.draw(methods_of(row, plain))
    octets = method(3, ours)
    consumed, channel, theirs = pamqp.frame.unmarshal(octets)
    assert (consumed, channel) == (len(octets), 3)
    names = theirs.attributes()  # type: ignore[union-attr]
    assert len(names) == len(row.arguments)
    for name, argument in zip(names, row.arguments, strict=True):
        if not argument.reserved:
            value = getattr(ours, argument.name)
            assert getattr(theirs, name) == (value.decode() if isinstance(value, bytes) else value)
    if ours.NAME in {"channel.open", "channel.open-ok"}:
        return  # pamqp wants a reserved field filled that clients leave empty
    again = pamqp.frame.marshal(theirs, 3)
    decoded = type(ours).decode(again[7:-1])
    assert [getattr(decoded, field.name) for field in fields(decoded)] == [  # type: ignore[arg-type]
        getattr(ours, field.name)
        for field in fields(ours)  # type: ignore[arg-type]
    ]


@given(short_text, short_text, st.booleans(), st.booleans(), st.integers(0, 200), st.integers(0, 255))
def test_the_quick_look_at_a_publish_agrees_with_decoding_it(
    exchange: str, routing_key: str, mandatory: bool, immediate: bool, position: int, octet: int
) -> None:
    payload = bytearray(BasicPublish(exchange, routing_key, mandatory, immediate).encode())
    assert publish_is_well_formed(bytes(payload))
    if 4 <= position < len(payload):
        payload[position] = octet
    for octets in (bytes(payload), bytes(payload[:position]), bytes(payload) + b"x"):
        if len(octets) < 4:
            continue
        try:
            BasicPublish.decode(octets)
            decodes = True
        except ConnectionException:
            decodes = False
        assert publish_is_well_formed(octets) == decodes


def test_a_value_that_does_not_fit_its_field_is_an_error_of_ours() -> None:
    with pytest.raises(ValueError, match="above the limit of 255"):
        BasicPublish("x" * 256, "", False, False).encode()
