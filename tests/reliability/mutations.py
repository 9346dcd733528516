"""Damage to files, drawn by a random.Random: what disks and downloads do, and what somebody does
who means harm.
"""

import io
import json
import math
import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path

# the file, in the working folder, that the pickles in here write where somebody opens them
UNPICKLED = "unpickled"
SIZES = (
    0,
    1,
    2,
    255,
    65535,
    65536,
    40000,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
NUMBERS = (
    "-1",
    "0",
    "1e999",
    "-1e999",
    "nan",
    "inf",
    "9" * 30,
    "9" * 5000,
    "\u00b2",
    "\u0663",
    "0x10",
    "1_0",
    "",
    "3.5",
    "-0",
)
TEXTS = (
    "",
    " ",
    "\0",
    "../../../escaped",
    "/etc/passwd",
    "/dev/zero",
    "a/../../b",
    "x" * 300,
    "y" * 5000,
    "z" * 200000,
    "a\nb",
    "\x1b[2J",
    "\u202e",
    "\ud800",
    "%s%n",
    "__class__",
    "null",
    "NaN",
    "fear",
    "train",
    "zoo",
    "grid",
    "fc8",
    "demo",
)
VALUES = (
    *TEXTS,
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    64,
    10**6,
    10**12,
    10**30,
    -(10**30),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    ["a", "a"],
    [1] * 10000,
    {"": {}},
)


class Opened:
    """Leaves a file behind where its pickle is opened."""

    def __reduce__(self):
        return Path.touch, (Path(UNPICKLED),)


def mutated(content, random, others):
    """Return bytes that differ from `content`, and what was done. others: contents of other valid
    files.
    """
    for _ in range(20):
        kind = random.choice(
            [*ANY, *(kind for tells, kinds in OF_FORMAT for kind in kinds * 3 if tells(content))]
        )
        try:
            changed = kind(content, random, others)
        except (ValueError, IndexError, KeyError, struct.error, zipfile.BadZipFile, zlib.error):
            continue  # nothing of the kind in it
        if changed != content:
            return changed, kind.__name__
    return content[:-1], "truncate"


def place(content, random):
    return (
        random.randrange(len(content))
        if random.random() < 0.7
        else random.randrange(min(len(content), 256))
    )


def stretch(content, random):
    start = place(content, random)
    return start, min(len(content), start + random.choice((1, 4, 16, 100, 4000)))


def truncate(content, random, others):
    return content[: place(content, random)]


def flip_bits(content, random, others):
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        changed[place(content, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def zero(content, random, others):
    start, end = stretch(content, random)
    return content[:start] + bytes(end - start) + content[end:]


def fill(content, random, others):
    start, end = stretch(content, random)
    return content[:start] + b"\xff" * (end - start) + content[end:]


def delete(content, random, others):
    start, end = stretch(content, random)
    return content[:start] + content[end:]


def duplicate(content, random, others):
    start, end = stretch(content, random)
    return content[:end] + content[start:end] * random.choice((1, 1, 50)) + content[end:]


def insert(content, random, others):
    start = place(content, random)
    return (
        content[:start]
        + bytes(random.randrange(256) for _ in range(random.choice((1, 2, 30))))
        + content[start:]
    )


def swap(content, random, others):
    """Put a part of another valid file into this one."""
    other = random.choice(others)
    (start, end), (begin, stop) = stretch(content, random), stretch(other, random)
    return content[:start] + other[begin:stop] + content[end:]


def another(content, random, others):
    return random.choice(others)


def nothing(content, random, others):
    return random.choice(
        (
            b"",
            b"\0",
            b"\0" * 5000,
            b"\n",
            b"just text\n",
            b"\xef\xbb\xbf",
            b"\xff\xfe\0",
            b"[" * 100000,
            b"PK\5\6" + bytes(18),
            pickle.dumps(Opened()),
        )
    )


def some_integer(content, random, others):
    """Overwrite what may be a length."""
    start, form = place(content, random), random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    number = struct.pack(form, random.choice(SIZES) % 2 ** (8 * struct.calcsize(form)))
    return content[:start] + number + content[start + len(number) :]


ANY = (
    truncate,
    flip_bits,
    zero,
    fill,
    delete,
    duplicate,
    insert,
    swap,
    another,
    nothing,
    some_integer,
)


# Text.


def is_text(content):
    try:
        return "\0" not in content[:1000].decode("utf-8")
    except UnicodeDecodeError:
        return False


def number_in_text(content, random, others):
    found = random.choice(list(re.finditer(rb"\d+(\.\d+)?", content)))
    return content[: found.start()] + random.choice(NUMBERS).encode() + content[found.end() :]


def word_in_text(content, random, others):
    found = random.choice(list(re.finditer(rb"[^\s,\"]+", content)))
    return (
        content[: found.start()]
        + random.choice(TEXTS).encode("utf-8", "surrogatepass")
        + content[found.end() :]
    )


def lines(content, random, others):
    rows = content.split(b"\n")
    random.choice(
        (
            random.shuffle,
            lambda rows: rows.pop(random.randrange(len(rows))),
            lambda rows: rows.append(random.choice(rows)),
            lambda rows: rows.insert(random.randrange(len(rows)), b'"unclosed'),
            lambda rows: rows.extend(rows * 20),
        )
    )(rows)
    return b"\n".join(rows)


def encoding(content, random, others):
    return content.decode("utf-8", "replace").encode(
        random.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7"))
    )


# JSON.


def is_json(content):
    return content[:1] in (b"{", b"[")


def json_lines(content):
    try:
        return [json.loads(content)]
    except ValueError:
        return [json.loads(line) for line in content.splitlines()]


def inside(value):
    """Yield every list and dict in a JSON value."""
    if isinstance(value, (dict, list)):
        yield value
        for below in value.values() if isinstance(value, dict) else value:
            yield from inside(below)


def json_value(content, random, others):
    """Replace, remove, rename or add a value, or change its type."""
    rows = json_lines(content)
    for _ in range(random.choice((1, 1, 3))):
        where = random.choice([found for found in inside(rows) if found])
        key = random.choice(list(where) if isinstance(where, dict) else range(len(where)))
        change = random.randrange(6)
        if change == 0:
            del where[key]
        elif change == 1 and isinstance(where, dict):
            where[random.choice(TEXTS)] = where.pop(key)
        elif change == 2 and isinstance(where, dict):
            where[random.choice(TEXTS)] = random.choice(VALUES)
        elif change == 3:
            where[key] = random.choice(
                (str, lambda value: [value], lambda value: {"": value}, bool)
            )(where[key])
        else:
            where[key] = random.choice(VALUES)
    return b"\n".join(json.dumps(row).encode() for row in rows)


def json_depth(content, random, others):
    found = random.choice(list(re.finditer(rb"[:\[,] ?", content)))
    depth = random.choice((50, 900, 5000, 100000))
    return (
        content[: found.end()]
        + random.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth))
        + content[found.end() :]
    )


# MXNet's parameters.


def params_fields(content):
    """Return where the numbers of a .params file's structure are, (offset, bytes)."""
    found, position = [(0, 8), (8, 8), (16, 8)], 24
    for _ in range(struct.unpack_from("<Q", content, 16)[0]):
        (dimensions,) = struct.unpack_from("<I", content, position + 8)
        shape = struct.unpack_from(f"<{dimensions:d}q", content, position + 12)
        end = position + 12 + 8 * dimensions
        found += [
            (position, 4),
            (position + 4, 4),
            (position + 8, 4),
            *((position + 12 + 8 * number, 8) for number in range(dimensions)),
            (end, 4),
            (end + 4, 4),
            (end + 8, 4),
        ]
        position = (
            end
            + 12
            + math.prod(shape)
            * {0: 4, 1: 8, 2: 2, 3: 1, 4: 4, 5: 1, 6: 8}[
                struct.unpack_from("<i", content, end + 8)[0]
            ]
        )
    found.append((position, 8))
    (count,) = struct.unpack_from("<Q", content, position)
    position += 8
    for _ in range(count):
        found.append((position, 8))
        position += 8 + struct.unpack_from("<Q", content, position)[0]
    return found


def params_number(content, random, others):
    """Make a count, a shape, a type or the length of a name absurd, or nearly right."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2))):
        start, size = random.choice(params_fields(content))
        old = int.from_bytes(content[start : start + size], "little")
        number = random.choice((*SIZES, old + 1, old - 1, old * 2, old // 2, -1)) % 2 ** (8 * size)
        changed[start : start + size] = number.to_bytes(size, "little")
    return bytes(changed)


def params_values(content, random, others):
    """Numbers that are none, or so large that a network can only answer with none."""
    start = random.choice(params_fields(content)[3:])[0] + 4 * random.randrange(200)
    number = struct.pack("<f", random.choice((float("nan"), float("inf"), 3e38, -3e38, 1e-45)))
    return content[:start] + number * 4 + content[start + 4 * len(number) :]


# Images.


def side(random, bits):
    return random.choice((0, 1, 32767, 40000, 65535, 2**20, 2**31 - 1, 2**31, 2**32 - 1)) % 2**bits


def put(content, offset, form, *numbers):
    return (
        content[:offset] + struct.pack(form, *numbers) + content[offset + struct.calcsize(form) :]
    )


def png_size(content, random, others):
    """Absurd sides, depth or kind, with the right checksum."""
    header = bytearray(content[16:29])
    if random.random() < 0.7:
        header[0:8] = struct.pack(
            ">II",
            *random.choice(
                ((side(random, 32), side(random, 32)), (40000, 40000), (side(random, 32), 1))
            ),
        )
    else:
        header[random.randrange(8, 13)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return (
        content[:16]
        + bytes(header)
        + struct.pack(">I", zlib.crc32(content[12:16] + bytes(header)))
        + content[33:]
    )


def png_chunks(content, random, others):
    """Remove, repeat or lengthen a chunk, or make up one, with the right checksums."""
    chunks, position = [], 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append(content[position + 4 : position + 8 + length])
        position += 12 + length
    number = random.randrange(len(chunks))
    kind = random.choice(
        (
            b"IDAT",
            b"PLTE",
            b"tRNS",
            b"iCCP",
            b"zTXt",
            b"acTL",
            b"fcTL",
            b"fdAT",
            b"eXIf",
            b"IHDR",
            b"IEND",
        )
    )
    bomb = zlib.compress(bytes(10**6))
    random.choice(
        (
            lambda: chunks.pop(number),
            lambda: chunks.insert(number, chunks[number]),
            lambda: random.shuffle(chunks),
            lambda: chunks.insert(number, kind + bytes(random.randrange(40))),
            lambda: chunks.insert(number, kind + b"a\0\0" + bomb),
            lambda: chunks.insert(1, b"IDAT" + bomb),
            lambda: chunks.__setitem__(number, chunks[number][:4] + bomb),
        )
    )()
    return content[:8] + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


def jpeg_size(content, random, others):
    found = random.choice(list(re.finditer(rb"\xff[\xc0\xc1\xc2]\x00.", content, re.DOTALL)))
    return put(
        content,
        found.start() + 5,
        ">HH",
        *random.choice(((side(random, 16), side(random, 16)), (40000, 40000), (65535, 1))),
    )


def jpeg_marker(content, random, others):
    found = random.choice(list(re.finditer(rb"\xff[\xc0-\xfe]", content)))
    return (
        content[: found.start() + 1]
        + bytes([random.choice(range(0xC0, 0xFF))])
        + content[found.end() :]
    )


def jpeg_scans(content, random, others):
    """The last scan many times over."""
    start = content.rindex(b"\xff\xda")
    return content[:-2] + content[start:-2] * random.choice((5, 1000)) + content[-2:]


def gif_size(content, random, others):
    return put(
        content,
        random.choice((6, content.index(b",", 13) + 5)),
        "<HH",
        side(random, 16),
        side(random, 16),
    )


def bmp_size(content, random, others):
    offset = random.choice((2, 10, 14, 18, 18, 22, 22, 28, 30, 34, 46))
    return (
        put(content, offset, "<I", side(random, 32))
        if random.random() < 0.7
        else put(content, 18, "<II", 40000, 40000)
    )


def tiff_tag(content, random, others):
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", content, 4)
    entry = start + 2 + 12 * random.randrange(struct.unpack_from(order + "H", content, start)[0])
    return put(
        content,
        entry + random.choice((0, 2, 4, 8, 8)),
        order + random.choice("HI"),
        side(random, 16),
    )


def webp_size(content, random, others):
    return put(content, random.choice((4, 16, 20, 21, 24, 26, 28)), "<I", side(random, 32))


# .npz files.


def npz_member(content, random, others):
    """Give an array another header, other contents or another name, with the right checksum; or a
    pickle in its place.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    number = random.randrange(len(members))
    name, member = members[number]
    members[number] = (
        random.choice((name, name, name, name, *TEXTS[1:14], name + "/x")),
        npy_header(member, random, others),
    )
    if random.random() < 0.1:
        members.append(random.choice(members))
    return zipped(members, random)


def zip_claim(content, random, others):
    """Have the directory of the archive claim another size, method or place."""
    found = random.choice(list(re.finditer(rb"PK\x01\x02", content)))
    offset, form = random.choice(
        (
            (8, "<H"),
            (10, "<H"),
            (16, "<I"),
            (20, "<I"),
            (24, "<I"),
            (28, "<H"),
            (30, "<H"),
            (42, "<I"),
        )
    )
    return put(
        content,
        found.start() + offset,
        form,
        random.choice(SIZES) % 2 ** (8 * struct.calcsize(form)),
    )


def zip_bomb(content, random, others):
    bomb = npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**24:d},), }}") + bytes(
        2**26
    )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = random.choice(archive.namelist())
    return zipped([(name, bomb)], random)


def zipped(members, random):
    file = io.BytesIO()
    with zipfile.ZipFile(
        file, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for name, member in members:
            archive.writestr(
                zipfile.ZipInfo(name.encode("utf-8", "replace").decode().replace("\0", "0") or "x"),
                member,
            )
    return file.getvalue()


def npy(header, version=1):
    text = header.encode() + b"\n"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(text))
        + text
    )


def npy_header(content, random, others):
    """An array with another type, shape or order, or no array at all."""
    end = 10 + struct.unpack_from("<H", content, 8)[0]
    fields = dict(re.findall(r"'(\w+)': ('[^']*'|\([^)]*\)|\w+)", content[10:end].decode()))
    change = random.randrange(7)
    if change == 0:
        fields["shape"] = random.choice(
            (
                f"({2**40:d},)",
                f"({2**40:d}, {2**40:d})",
                "(-1,)",
                f"(0, {2**62:d})",
                "()",
                "(1.5,)",
                "'x'",
                "None",
            )
        )
    elif change == 1:
        fields["descr"] = random.choice(
            (
                "'|O'",
                "'<f8'",
                "'<c16'",
                "'<U9'",
                "'|V3'",
                "'<M8[s]'",
                "[('a', '<f4')]",
                "'<f2'",
                "'x'",
                "'<U99999999999'",
            )
        )
    elif change == 2:
        fields.pop(random.choice(list(fields)))
    elif change == 3:
        fields["fortran_order"] = random.choice(("True", "1", "None"))
    elif change == 4:
        return random.choice(
            (
                b"",
                b"text",
                content[:5],
                content[:-1],
                npy("(" * 5000),
                npy("-" * 60000 + "1"),
                npy("[" * 99 + "]" * 99),
                npy(f"__import__('os').system('touch {UNPICKLED}')"),
                npy("{}", 2),
                b"\x93NUMPY\x09\0" + content[8:],
            )
        )
    elif change == 5:
        return npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + pickle.dumps(
            [Opened()]
        )
    else:
        values = struct.pack(
            "<d", random.choice((float("nan"), float("inf"), 1e308, -1e308, 1e-320))
        )
        return (
            content[:end]
            + values * ((len(content) - end) // 8)
            + content[end + (len(content) - end) // 8 * 8 :]
        )
    return (
        npy("{{{}}}".format(", ".join("'{}': {}".format(*item) for item in fields.items())))
        + content[end:]
    )


# Protocol buffers.


def protobuf_length(content, random, others):
    """Overwrite what may be the length of a field, most likely of a name or a tensor, by
    another.
    """
    number, start = random.choice(SIZES), place(content, random)
    encoded = bytearray()
    while True:
        encoded.append(number & 127 | (128 if number > 127 else 0))
        number >>= 7
        if not number:
            return content[:start] + bytes(encoded) + content[start + len(encoded) :]


def onnx_tensor(content, random, others):
    """Give a tensor other sides, another type, or its data in another file."""
    import onnx

    model = onnx.load_model_from_string(content)
    tensor = random.choice(model.graph.initializer)
    change = random.randrange(5)
    if change == 0:
        tensor.dims[:] = [random.choice((-1, 0, 2**40, 2**62)) for _ in tensor.dims]
    elif change == 1:
        tensor.data_type = random.choice((*range(24), 2**31 - 1, -1))
    elif change == 2:
        tensor.data_location = 1
        tensor.external_data.add(key="location", value=random.choice((*TEXTS[2:10], "outside.txt")))
    elif change == 3:
        tensor.name = random.choice(TEXTS[:13])
    else:
        tensor.raw_data = random.choice((b"", b"\0", tensor.raw_data[:-1], tensor.raw_data * 2))
    return model.SerializeToString()


OF_FORMAT = (
    (is_text, (number_in_text, word_in_text, lines, encoding)),
    (is_json, (json_value, json_value, json_value, json_depth)),
    (lambda content: content.startswith(b"\x12\1"), (params_number, params_number, params_values)),
    (lambda content: content.startswith(b"\x89PNG"), (png_size, png_chunks)),
    (lambda content: content.startswith(b"\xff\xd8"), (jpeg_size, jpeg_marker, jpeg_scans)),
    (lambda content: content.startswith(b"GIF8"), (gif_size,)),
    (lambda content: content.startswith(b"BM"), (bmp_size,)),
    (lambda content: content[:2] in (b"II", b"MM"), (tiff_tag,)),
    (lambda content: content.startswith(b"RIFF"), (webp_size,)),
    (lambda content: content.startswith(b"PK"), (npz_member, npz_member, zip_claim, zip_bomb)),
    (lambda content: content.startswith(b"\x93NUMPY"), (npy_header,)),
    (lambda content: content[:1] in (b"\x08", b"\x3a"), (protobuf_length, onnx_tensor)),
)
