"""What `check` has said of a backward pass, for the page: by what the report shows to everybody."""

from __future__ import annotations

from typing import Any

__all__ = ["report_data"]


def report_data(report: Any) -> dict[str, Any]:
    """Give the lines of a report, which gradient each is held to, and what is wrong.

    Parameters
    ----------
    report : BackwardReport

    Returns
    -------
    dict

    Raises
    ------
    TypeError
        If it is none.
    """
    try:
        first = report.first_wrong
        margin = min((_margin(line.source) for line in report.lines), default=0)
        return {
            "passed": bool(report.passed),
            "called": report.called,
            "cause": report.cause,
            "first": first and first.number,
            "gradients": [str(one) for one in report.gradients],
            "lines": [
                {
                    "number": line.number,
                    "source": _dedented(line.source, margin),
                    "gradient": line.gradient,
                    "mark": _mark(line),
                }
                for line in report.lines
            ],
        }
    except AttributeError:
        raise TypeError(
            f"explore: report is a {type(report).__name__}, but must be what tinygraph.check gives"
        ) from None


def _margin(source: str) -> int:
    return len(source) - len(source.lstrip())


def _dedented(source: str, margin: int) -> str:
    return "\n".join(row[min(margin, _margin(row)) :] for row in source.splitlines())


def _mark(line: Any) -> str:
    if line.passed is None:
        return ""
    return "✓" if line.passed else "·" if line.follows else "✗"
