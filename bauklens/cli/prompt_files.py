"""Files of prompts and chats, and names of files that are given instead of a prompt."""

from pathlib import Path
from typing import Any

from bauklens.errors import LensError
from bauklens.files import is_file
from bauklens.reading_files import parse_json, read_text


def require_prompt(text: str) -> None:
    """Refuses the name of a file instead of a prompt, and names the command or option for such a file."""
    if not is_file(text):
        return
    suffix = Path(text).suffix
    if suffix == ".safetensors":
        instead = f"bauklens compare {text} OTHER"
    elif suffix == ".json":
        instead = f"bauklens lens --messages {text}, or bauklens compare {text} OTHER"
    else:
        instead = f"bauklens report {text} -o report.html"
    hint = "open it in a browser." if _is_page(suffix) else f"did you mean {instead}?"
    raise LensError(f"{text} is a file: {hint} To use its name as a prompt, run this in another folder")


def read_messages(file: Path) -> Any:
    """The chat in a JSON file, or in standard input; raises a LensError without one."""
    try:
        return parse_json(read_text(file))
    except LensError as error:
        raise LensError(f"cannot read {file}: {error}") from None


def read_prompts(file: Path) -> list[tuple[int, str, str]]:
    """(line number, heading, prompt) of every prompt in a file, or in standard input; blank lines are skipped.

    Raises:
        LensError: the file cannot be read, is a page or has no prompts, or a line of a .jsonl file is not an object
            with a prompt.
    """
    if _is_page(file.suffix):
        raise LensError(f"{file} is a page, not a file of prompts: open it in a browser")
    try:
        lines = read_text(file).split("\n")
    except LensError as error:
        raise LensError(f"cannot read {file}: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise LensError(f"{file} contains no prompts")
    if file.suffix != ".jsonl":
        return [(number, line, line) for number, line in numbered]
    return [(number, *_json_prompt(file, number, line)) for number, line in numbered]


def _json_prompt(file: Path, number: int, line: str) -> tuple[str, str]:
    try:
        entry = parse_json(line)
    except LensError as error:
        raise LensError(f"{file}, line {number}: {error}") from None
    prompt = entry.get("prompt") if isinstance(entry, dict) else None
    if not isinstance(prompt, str) or not prompt:
        raise LensError(f'{file}, line {number}: looked for an object with a "prompt" that is text')
    return str(entry.get("title") or prompt), prompt


def _is_page(suffix: str) -> bool:
    return suffix.lower() in (".html", ".htm")
