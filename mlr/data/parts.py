"""Which part of a batch goes to which device or worker."""


def part_of(count: int, number: int, parts: int) -> slice:
    """Return which of `count` things in order belong to part `number`, a slice: parts differ by one
    thing at most.

    Where there are fewer things than parts, the first parts have one each, and the others none.
    """
    used = min(count, parts)
    if number >= used:
        return slice(count, count)
    return slice(count * number // used, count * (number + 1) // used)
