"""Decodes many CDR messages of one type at once, into one array per field.

Messages of one topic nearly always have the same layout: the same lengths of texts and sequences.
Such messages are the rows of one byte matrix, and a field is some of its columns. Where lengths
differ, the rows are split, so every message is decoded, and only rare ones cost something.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from deepilc.bags.mcap import Channel
from deepilc.errors import UserError

__all__ = ["Group", "Layout", "decode", "layout_of"]

_NUMBERS = {
    "bool": "?", "byte": "u1", "char": "u1", "octet": "u1",
    "int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2", "int32": "<i4", "uint32": "<u4",
    "int64": "<i8", "uint64": "<u8", "float32": "<f4", "float64": "<f8",
}  # fmt: skip
_LITTLE_ENDIAN = 1  # second byte of the encapsulation


@dataclass(frozen=True)
class Field:
    """One field of a message, nested messages being flattened.

    Attributes:
        path: Names from the message down, joined by dots.
        kind: numpy type of a number; "string"; or the fields of a message, in a list of messages.
        count: Elements of a fixed array; None is a sequence, -1 a single value.
    """

    path: str
    kind: "str | tuple[Field, ...]"
    count: int | None = -1


@dataclass(frozen=True)
class Layout:
    """A message type as a list of fields.

    Attributes:
        type: Name of the type.
        fields: In the order of the wire.
    """

    type: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Group:
    """Messages that have the same layout, decoded.

    Attributes:
        rows: (k,) positions in the list that was decoded.
        values: By field: (k,) or (k, length) numbers; texts as (k,) bytes. Elements of lists of
            texts and messages have an index in their path, as `dim[0].size`; an empty list is
            (k, 0).
    """

    rows: np.ndarray
    values: Mapping[str, np.ndarray]


def layout_of(channel: Channel) -> Layout:
    """The layout of a channel's messages, from the definition that the bag holds.

    Raises:
        UserError: The bag holds no usable definition of a type that ROS 2 does not have.
    """
    definitions = {**_known(), **_types(channel)}  # as recorded, even if ROS 2 has another now
    try:
        return Layout(channel.type, tuple(_flatten(channel.type, definitions)))
    except UserError as error:
        raise UserError(f"topic {channel.topic}: {error}") from None


@cache
def _known() -> Mapping[str, Any]:
    """The types of ROS 2 itself."""
    return dict(get_typestore(Stores.ROS2_JAZZY).fielddefs)


def _types(channel: Channel) -> dict[str, Any]:
    """Type name to fields, of a channel's type and those that it uses, as the bag defines them.

    Raises:
        UserError: The definition cannot be read.
    """
    if not channel.definition:
        return {}
    try:
        return _defined(channel)
    except Exception as error:  # the parser's own errors have no common base
        reason = " ".join(str(error).split())
        raise UserError(
            f"topic {channel.topic}: cannot read the definition of {channel.type}: {reason}"
        ) from None


def _defined(channel: Channel) -> dict[str, Any]:
    """Type name to definition, of a type and those that it uses."""
    text = channel.definition
    if channel.encoding != "ros2idl":
        return dict(get_types_from_msg(text, channel.type))
    separator = "=" * 80 + "\n"
    if not text.startswith(f"{separator}IDL: "):
        return dict(get_types_from_idl(text))
    parts = (part.partition("\n")[2] for part in text.split(separator)[1:])
    return {name: fields for part in parts for name, fields in get_types_from_idl(part).items()}


def _flatten(name: str, definitions: Mapping[str, Any], prefix: str = "") -> Iterator[Field]:
    """Fields of a type and of the messages in it.

    Raises:
        UserError: It has something that has no layout here.
    """
    if name not in definitions:
        raise UserError(f"the bag holds no definition of {name}")
    for field, (kind, about) in definitions[name][1]:
        path = f"{prefix}{field}"
        count: int | None = -1
        if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            (element, base), size = about
            kind, about, count = element, base, size if kind == Nodetype.ARRAY else None
        if kind == Nodetype.NAME and count == -1:
            yield from _flatten(about, definitions, f"{path}.")
        elif kind == Nodetype.NAME:
            yield Field(path, tuple(_flatten(about, definitions)), count)
        elif about[0] in _NUMBERS or about[0] == "string":
            yield Field(path, _NUMBERS.get(about[0], "string"), count)
        else:
            raise UserError(f"{name} has a {about[0]}, which is not read")


def decode(layout: Layout, messages: Sequence[bytes]) -> tuple[list[Group], np.ndarray]:
    """Decodes messages of one type.

    Args:
        layout: Their layout.
        messages: Serialized, with the four bytes of encapsulation.

    Returns:
        The groups; positions (k,) of the messages that do not fit the type, such as cut ones.
    """
    groups: list[Group] = []
    bad: list[np.ndarray] = []
    sizes = np.fromiter(map(len, messages), np.int64, len(messages))
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        if size < 4:
            bad.append(rows)
            continue
        joined = b"".join(messages[row] for row in rows.tolist())
        data = np.frombuffer(joined, np.uint8).reshape(len(rows), size)
        little = data[:, 1] == _LITTLE_ENDIAN
        if not little.all():
            bad.append(rows[~little])
            rows, data = rows[little], data[little]
        _decode_matrix(layout, rows, data[:, 4:], groups, bad)
    return groups, np.concatenate(bad) if bad else np.zeros(0, np.int64)


def _decode_matrix(
    layout: Layout, rows: np.ndarray, data: np.ndarray, groups: list[Group], bad: list[np.ndarray]
) -> None:
    """Walks along the fields; splits the rows where a length differs."""
    waiting: list[tuple[np.ndarray, np.ndarray, int, list[Field], dict[str, np.ndarray]]]
    waiting = [(rows, data, 0, list(reversed(layout.fields)), {})]
    while waiting:
        rows, data, at, ahead, values = waiting.pop()
        size = data.shape[1]
        while ahead:
            field = ahead.pop()
            length = field.count
            if length is None or (field.kind == "string" and length == -1):
                at = _aligned(at, 4)
                if at + 4 > size:
                    break
                lengths = _cut(data, at, 4).view("<u4")[:, 0]
                length = int(lengths[0])
                same = lengths == length
                if not same.all():
                    split = {path: value[~same] for path, value in values.items()}
                    waiting.append((rows[~same], data[~same], at, [*ahead, field], split))
                    rows, data = rows[same], data[same]
                    values = {path: value[same] for path, value in values.items()}
                at += 4
                if length > size - at:  # elements have at least a byte
                    break
            if isinstance(field.kind, tuple) or (field.kind == "string" and field.count != -1):
                ahead += reversed(_elements(field, length))
                if not length:
                    values[field.path] = np.zeros((len(rows), 0))
                continue
            kind = np.dtype("u1" if field.kind == "string" else field.kind)
            elements = 1 if length == -1 else length
            if elements:
                at = _aligned(at, kind.itemsize)
            end = at + elements * kind.itemsize
            if end > size:
                break
            values[field.path] = _value(field, _cut(data, at, end - at), kind)
            at = end
        else:
            if size - at < 4:  # writers fill up to a multiple of four
                groups.append(Group(rows, values))
                continue
        bad.append(rows)


def _elements(field: Field, count: int) -> list[Field]:
    """The fields of the elements of a list of texts or messages."""
    if not isinstance(field.kind, tuple):
        return [Field(f"{field.path}[{i}]", field.kind) for i in range(count)]
    return [
        Field(f"{field.path}[{i}].{each.path}", each.kind, each.count)
        for i in range(count)
        for each in field.kind
    ]


def _value(field: Field, data: np.ndarray, kind: np.dtype) -> np.ndarray:
    if field.kind == "string":  # its last byte is a zero
        length = data.shape[1]
        return data.view(f"S{length}")[:, 0] if length else np.zeros(len(data), "S1")
    if field.kind == "?":
        numbers = data != 0
    else:
        numbers = data.view(kind) if data.shape[1] else np.zeros((len(data), 0), kind)
    return numbers[:, 0] if field.count == -1 else numbers


def _cut(data: np.ndarray, at: int, size: int) -> np.ndarray:
    return np.ascontiguousarray(data[:, at : at + size])


def _aligned(at: int, size: int) -> int:
    return at + -at % size
