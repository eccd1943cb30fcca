"""The last lines of every benchmark, one per goal: `what  measured  goal  met|not met`."""


def at_most(what, measured, goal):
    """Returns `(line, met)` for a goal that is an upper bound."""
    return _line(what, measured, f"≤ {goal:g}", measured <= goal)


def at_least(what, measured, goal):
    """Returns `(line, met)` for a goal that is a lower bound."""
    return _line(what, measured, f"≥ {goal:g}", measured >= goal)


def _line(what, measured, goal, met):
    return f"{what}  {measured:.3g}  {goal}  {'met' if met else 'not met'}", met


def report(lines):
    """Prints the lines and returns the exit code: 0 if all goals are met, else 1."""
    print()
    for line, _ in lines:
        print(line)
    return 0 if all(met for _, met in lines) else 1
