"""The measurements of scripts/benchmark_serve.py as a section of docs/PERFORMANCE.md."""

from typing import Any

SERVE = "performance_serve.json"
"""In docs/: the measurements of scripts/benchmark_serve.py."""


def of_the_live_page(found: dict[str, Any]) -> str:
    """The section about how soon a live page shows something, and how many pages affect it."""
    many = found["many"]
    lines = [
        "## The live page",
        "",
        f"{found['model']}, {found['machine']}: `bauklens serve` in its own process, asked over HTTP as by its "
        f"page; medians of {found['rounds']} looks, alternating with the bare forward pass in another process. *First "
        "row* is the model's own answer; the others follow from the bottom up.",
        "",
        "| tokens | forward pass | first row | times the forward pass | whole table and its page |",
        "| ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {each['tokens']:,} | {each['forward']:.2f} s | {each['first']:.2f} s | "
            f"{each['first'] / each['forward']:.2f} | {each['whole']:.2f} s |"
            for each in found["looks"]
        ),
        "",
        f"{many['pages']} pages asked at once, for {many['tokens']} tokens each: all were answered within "
        f"{many['seconds']:.1f} s; one after another from one page, the requests take {many['alone']:.1f} s. After "
        f"{many['looks']:,} looks the server has {many['grown'] / 1e6:+.0f} MB more than after {many['from']:,}.",
        "",
        "`.venv/bin/python scripts/benchmark_serve.py --docs`",
    ]
    return "\n".join(lines) + "\n"
