"""recordio-protobuf: records of SageMaker's own algorithms, each a message with tensors of features and labels.

A record is framed by a magic number and its length, and filled up to whole words. The message types are made at import from the
published description (``record.proto``, package ``aialgs.data``) instead of from generated code.

# AWS: framing and messages: the repository aws/sagemaker-containers (_recordio.py, record_pb2.py), and the developer guide,
# "Common data formats for inference".
"""

import struct

import numpy
import scipy.sparse
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

MAGIC = 0xCED7230A
HEAD = struct.Struct("<II")
WORD_BYTES = 4
INDEX_MAX = 2**31 - 2
BLOCK_ROWS = 1000

_Field = descriptor_pb2.FieldDescriptorProto
_TENSORS = {
    "float32_tensor": ("Float32Tensor", _Field.TYPE_FLOAT, 2, numpy.float32),
    "float64_tensor": ("Float64Tensor", _Field.TYPE_DOUBLE, 3, numpy.float64),
    "int32_tensor": ("Int32Tensor", _Field.TYPE_INT32, 7, numpy.int32),
}
"""Field of Value: type of the message, type of its values, number of the field, type of an array."""


def _record_class():
    file = descriptor_pb2.FileDescriptorProto(name="record.proto", package="aialgs.data", syntax="proto2")
    value = descriptor_pb2.DescriptorProto(name="Value", oneof_decl=[descriptor_pb2.OneofDescriptorProto(name="value")])
    for field, (name, kind, number, _) in _TENSORS.items():
        tensor = file.message_type.add(name=name)
        for position, (part, part_kind) in enumerate(
            [("values", kind), ("keys", _Field.TYPE_UINT64), ("shape", _Field.TYPE_UINT64)], 1
        ):
            packed = descriptor_pb2.FieldOptions(packed=True)
            tensor.field.add(name=part, number=position, label=_Field.LABEL_REPEATED, type=part_kind, options=packed)
        value.field.add(
            name=field, number=number, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_MESSAGE,
            type_name=f".aialgs.data.{name}", oneof_index=0,
        )  # fmt: skip
    file.message_type.append(value)
    record = file.message_type.add(name="Record")
    for number, (field, entry) in enumerate([("features", "FeaturesEntry"), ("label", "LabelEntry")], 1):
        pair = record.nested_type.add(name=entry, options=descriptor_pb2.MessageOptions(map_entry=True))
        pair.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
        pair.field.add(
            name="value", number=2, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_MESSAGE, type_name=".aialgs.data.Value"
        )
        record.field.add(
            name=field, number=number, label=_Field.LABEL_REPEATED, type=_Field.TYPE_MESSAGE,
            type_name=f".aialgs.data.Record.{entry}",
        )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("aialgs.data.Record"))


Record = _record_class()


def write(rows):
    """The bytes of records with labels. ``rows``: for each record its labels, each a list of numbers, by their names."""
    parts = []
    for labels in rows:
        record = Record()
        for name, values in labels.items():
            record.label[name].float32_tensor.values.extend(values)
        body = record.SerializeToString()
        parts += [HEAD.pack(MAGIC, len(body)), body, bytes(-len(body) % WORD_BYTES)]
    return b"".join(parts)


def read(body):
    """The features of all records: an array of rows, or a sparse matrix if one of the rows is sparse. Labels are ignored.

    Raises ValueError for bytes that are no such records.
    """
    rows = [_row(bytes(frame), number) for number, frame in enumerate(_frames(memoryview(body)), 1)]
    if not rows:
        raise ValueError("No records found in RecordIO-Protobuf data")
    width = rows[0][2]
    for number, (_, _, columns) in enumerate(rows, 1):
        if columns != width:
            raise ValueError(f"record {number} has {columns} features, the first record has {width}")
    if all(keys is None for _, keys, _ in rows):
        return numpy.concatenate(
            [numpy.stack([values for values, _, _ in rows[at : at + BLOCK_ROWS]]) for at in range(0, len(rows), BLOCK_ROWS)]
        )
    return _sparse(rows, width)


def _frames(body):
    offset = 0
    while offset < len(body):
        if len(body) - offset < HEAD.size:
            raise ValueError(f"the bytes end within the head of a record, at offset {offset}")
        magic, size = HEAD.unpack_from(body, offset)
        if magic != MAGIC:
            raise ValueError(f"Invalid RecordIO magic at offset {offset}")
        offset += HEAD.size
        if size > len(body) - offset:
            raise ValueError(f"Truncated record at offset {offset}")
        yield body[offset : offset + size]
        offset += size + -size % WORD_BYTES


def _row(frame, number):
    """Values, their columns (None for all), and how many columns there are."""
    try:
        record = Record.FromString(frame)
    except message.DecodeError as error:
        raise ValueError(f"record {number} is not a protobuf record: {error}") from error
    if "values" not in record.features:
        raise ValueError(f'record {number} has no feature "values"')
    value = record.features["values"]
    kind = value.WhichOneof("value")
    if kind is None:
        raise ValueError(f"record {number} has neither floats nor integers")
    tensor = getattr(value, kind)
    values = numpy.array(tensor.values, _TENSORS[kind][3]).astype(numpy.float32)
    if not tensor.keys and (len(values) or not tensor.shape):
        return values, None, len(values)
    return _sparse_row(values, tensor, number)


def _sparse_row(values, tensor, number):
    keys = numpy.array(tensor.keys, numpy.uint64)
    columns = int(tensor.shape[0]) if tensor.shape else int(keys.max(initial=0)) + 1
    if len(keys) != len(values):
        raise ValueError(f"record {number} has {len(keys)} keys and {len(values)} values")
    if columns > INDEX_MAX or (len(keys) and int(keys.max()) >= columns):
        raise ValueError(f"record {number} has a key that is not below its {columns} columns, or too many of these")
    return values, keys.astype(numpy.int32), columns


def _sparse(rows, width):
    keys = [numpy.arange(width, dtype=numpy.int32) if keys is None else keys for _, keys, _ in rows]
    starts = numpy.concatenate([[0], numpy.cumsum([len(one) for one in keys])])
    triple = (numpy.concatenate([values for values, _, _ in rows]), numpy.concatenate(keys), starts.astype(numpy.int64))
    return scipy.sparse.csr_matrix(triple, shape=(len(rows), width))
