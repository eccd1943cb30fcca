"""How every benchmark ends: a line per goal, `what  measured  goal  met|short`."""


def at_most(what, measured, goal):
    """Returns `(line, met)` of a goal that is an upper bound."""
    return _line(what, measured, f"≤ {goal:g}", measured <= goal)


def at_least(what, measured, goal):
    """Returns `(line, met)` of a goal that is a lower bound."""
    return _line(what, measured, f"≥ {goal:g}", measured >= goal)


def _line(what, measured, goal, met):
    return f"{what}  {measured:.3g}  {goal}  {'met' if met else 'short'}", met


def report(lines):
    """Prints the lines and returns the exit status: 0 when all goals are met, 1 otherwise."""
    print()
    for line, _ in lines:
        print(line)
    return 0 if all(met for _, met in lines) else 1
