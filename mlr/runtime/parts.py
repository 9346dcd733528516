"""How things are shared out over devices or workers."""


def part_of(count: int, number: int, parts: int) -> slice:
    """Return which of `count` things in a row belong to part `number`: parts differ by one thing at
    most.

    Where there are fewer things than parts, the first parts have one each, and the others none.
    """
    used = min(count, parts)
    return (
        slice(count * number // used, count * (number + 1) // used)
        if number < used
        else slice(count, count)
    )
