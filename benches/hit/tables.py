"""Markdown tables."""


def markdown(heading, rows):
    """Returns a table whose first column is text, and the others numbers."""
    lines = [heading, ["---", *["--:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value):
    """Returns a number with three digits, or a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value, base):
    """Returns a number with its ratio to that of the baseline."""
    if value is None or not base:
        return number(value)
    return f"{number(value)} ({value / base:.2f})"
