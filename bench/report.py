"""Tables of medians, and what became of the goals."""


def table(rows):
    """Aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        print(("  " + "  ".join(cells)).rstrip())


def judged(scenario, medians):
    """[(text, value or None, reached or None)] of the scenario's goals."""
    labels = {f.key: f.label for f in scenario.figures}
    result = []
    for goal in scenario.goals:
        value = goal.value(medians)
        reached = goal.reached(value) if value is not None else None
        result.append((goal.text(labels[goal.key]), value, reached))
    return result


def show(scenario, medians):
    servers = [s for s in scenario.servers if s in medians]
    print(f"\n{scenario.name}: {scenario.about}")
    rows = [("", *servers)]
    for figure in scenario.figures:
        values = [figure.text(medians[s].get(figure.key)) for s in servers]
        if any(v != "-" for v in values):
            rows.append((figure.label, *values))
    table(rows)
    for text, value, reached in judged(scenario, medians):
        if reached is None:
            print(f"  goal: {text}: not measured")
        else:
            print(f"  goal: {text}: {value:.3g} {'reached' if reached else 'MISSED'}")


def document(scenario, runs, medians):
    """The same for programs."""
    return {
        "about": scenario.about,
        "runs": runs,
        "medians": medians,
        "goals": [
            {"goal": text, "value": value, "reached": reached} for text, value, reached in judged(scenario, medians)
        ],
    }
