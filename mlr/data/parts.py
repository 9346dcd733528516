"""Divides a batch among devices or workers."""


def part_of(count: int, number: int, parts: int) -> slice:
    """Return the slice of `count` things that belongs to part `number`. The sizes of the parts
    differ by at most one.

    If there are fewer things than parts, the first parts have one each, and the others none.
    """
    used = min(count, parts)
    if number >= used:
        return slice(count, count)
    return slice(count * number // used, count * (number + 1) // used)
