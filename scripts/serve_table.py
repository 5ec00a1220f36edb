"""What scripts/benchmark_serve.py measured, as the section of docs/PERFORMANCE.md."""

from typing import Any

SERVE = "performance_serve.json"
"""In docs/: what scripts/benchmark_serve.py measured."""


def of_the_live_page(found: dict[str, Any]) -> str:
    """The section on how soon a live page shows something, and what many pages do to it."""
    many = found["many"]
    lines = [
        "## The live page",
        "",
        f"{found['model']}, {found['machine']}: `bauklens serve` in a process of its own, asked over HTTP as its page "
        f"asks; medians of {found['rounds']} looks, alternating with the bare forward pass in another process. *First "
        "row* is the model's own answer; the others follow from below.",
        "",
        "| tokens | forward pass | first row | times the forward pass | whole table and its page |",
        "| ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {each['tokens']:,} | {each['forward']:.2f} s | {each['first']:.2f} s | "
            f"{each['first'] / each['forward']:.2f} | {each['whole']:.2f} s |"
            for each in found["looks"]
        ),
        "",
        f"{many['pages']} pages that ask at once, for {many['tokens']} tokens each: all were answered, in "
        f"{many['seconds']:.1f} s; one after another by one page they take {many['alone']:.1f} s. After "
        f"{many['looks']:,} looks the server has {many['grown'] / 1e6:+.0f} MB more than after {many['from']:,}.",
        "",
        "`.venv/bin/python scripts/benchmark_serve.py --docs`",
    ]
    return "\n".join(lines) + "\n"
