"""The Python and the command that repeat a look."""

import json
import shlex
from typing import Any

from bauklens.live.asked import Asked, Change
from bauklens.live.looking import AFTERWARDS
from bauklens.vocabulary import LOGIT

SHOWN = '  # a notebook shows it; in a script, add .to_html("lens.html")'
"""Follows the last line of a program, which shows nothing outside a notebook."""


def as_python(asked: Asked, model: str, decoders: dict[str, str], align: dict[int, int] | None = None) -> str:
    """A program that makes the table of a look again.

    Args:
        model: the argument of ``load``.
        decoders: the names on a page -> the argument of ``load_decoder``.
        align: which positions of another prompt are patched into which.
    """
    decoder = None if asked.decoder == LOGIT else decoders.get(asked.decoder, asked.decoder)
    options: dict[str, Any] = {} if asked.chat is None else {"messages": asked.chat}
    options |= {} if decoder is None else {"decoder": decoder}
    options |= {} if asked.stream == "hidden" else {"stream": asked.stream}
    options |= {} if asked.topk == 5 else {"topk": asked.topk}
    followed = [*asked.targets, *({name: list(tokens)} for name, tokens in asked.sets)]
    options |= {"targets": followed, "words": "first"} if followed else {}
    prompt = [] if asked.chat is not None else [repr(asked.prompt)]
    given = [f"{name}={value!r}" for name, value in options.items()]
    look = ", ".join(["model", "tokenizer", *prompt, *given])
    lines = ["import bauklens", "", f"model, tokenizer = bauklens.load({model!r})"]
    if asked.change is not None:
        return "\n".join([*lines, *_changed(asked, asked.change, decoder, look, align)]) + SHOWN
    if asked.replaced:
        of_ids = ["model", "tokenizer", "ids", *given[0 if asked.chat is None else 1 :]]
        return "\n".join([*lines, *_replaced(asked, look, ", ".join(of_ids))]) + SHOWN
    look += f", max_new_tokens={asked.new_tokens}" if asked.new_tokens else ""
    return "\n".join([*lines, f"bauklens.logit_lens({look})"]) + SHOWN


def _changed(asked: Asked, change: Change, decoder: str | None, look: str, align: dict[int, int] | None) -> list[str]:
    where = f", layers={_listed(change.layers)}" if change.layers is not None else ""
    where += f", positions={_listed(change.positions)}" if change.positions is not None else ""
    strength = f", strength={_number(change.strength)}" if change.strength != 1 else ""
    other = repr(asked.other) if asked.chat is None else _ids(asked.of_other)
    aligned = "" if align is None else f", align={align!r}"
    edit = {
        "swap": f"swap({decoder!r}, {change.token!r}, {change.into!r}{strength}{where})",
        "strengthen": f"steer({decoder!r}, {change.token!r}{strength}{where})",
        "remove": f"ablate({decoder!r}, {change.token!r}{strength}{where})",
        "patch": f"patch({other}{aligned}{where})",
    }[change.do]
    prompt = "" if asked.chat is not None else f", {asked.prompt!r}"
    goes_on = f"edits=edit, max_new_tokens={asked.new_tokens or AFTERWARDS}"
    said = [
        *([] if asked.chat is not None else [f"print(bauklens.intervene(model, tokenizer{prompt}, edit))"]),
        f"print(repr(bauklens.generate(model, tokenizer{prompt or f', messages={asked.chat!r}'}, {goes_on})))",
    ]
    lenses = [f"clean = bauklens.logit_lens({look})", f"edited = bauklens.logit_lens({look}, edits=edit)"]
    return [f"edit = bauklens.edits.{edit}", *lenses, *said, "bauklens.compare(clean, edited)"]


def _replaced(asked: Asked, look: str, look_of_ids: str) -> list[str]:
    """The tokens that are put in are named by the ids of their first tokens."""
    several = [f"ids[{position}] = {_first_id(token)}" for position, token in asked.replaced]
    return [
        f"clean = bauklens.logit_lens({look})",
        f"ids = {_ids(asked)}",
        *several,
        f"other = bauklens.logit_lens({look_of_ids})",
        "bauklens.compare(clean, other)",
    ]


def _ids(asked: Asked) -> str:
    """The assistant's last message is continued, as in a lens."""
    if asked.chat is None:
        return f"tokenizer({asked.prompt!r}).input_ids"
    goes_on = asked.chat[-1]["role"] == "assistant" and asked.chat[-1]["content"]
    how = "continue_final_message=True" if goes_on else "add_generation_prompt=True"
    return f"tokenizer.apply_chat_template({asked.chat!r}, {how}, return_dict=False)"


def _first_id(token: str | int) -> str:
    return str(token) if isinstance(token, int) else f"tokenizer.encode({token!r}, add_special_tokens=False)[0]"


def _listed(values: tuple[Any, ...]) -> str:
    return "[" + ", ".join(map(repr, values)) + "]"


def _number(value: float) -> str:
    """A number in few characters, without loss.

    >>> _number(2.0), _number(1.23456789)
    ('2', '1.23456789')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def as_command(asked: Asked, model: str, decoders: dict[str, str]) -> str:
    """The command that makes the page of a look; empty if the command lacks an option for it."""
    if not _is_command(asked):
        return ""
    change = asked.change
    words = ["bauklens", "lens", "--model", model]
    words += [] if asked.decoder == LOGIT else ["--decoder", decoders.get(asked.decoder, asked.decoder)]
    words += [] if asked.stream == "hidden" else ["--stream", asked.stream]
    words += [] if asked.topk == 5 else ["--topk", str(asked.topk)]
    words += [word for target in asked.targets for word in ("--target", str(target))]
    words += [word for each in asked.sets for word in ("--target-set", _set(*each))]
    words += ["--words", "first"] if asked.targets or asked.sets else []
    words += ["--max-new-tokens", str(asked.new_tokens)] if asked.new_tokens and change is None else []
    words += [] if change is None else _option_of(change)
    words += ["-o", "lens.html", *(["--"] if asked.prompt.startswith("-") else []), asked.prompt]
    return "" if any("\0" in each for each in words) else shlex.join(words)


def _is_command(asked: Asked) -> bool:
    """Whether the command has options for everything asked for."""
    change = asked.change
    tokens = (*asked.targets, *((change.token, change.into) if change is not None else ()))
    if asked.chat is not None or asked.replaced or any(isinstance(each, int) for each in tokens):
        return False
    if any("=" in name for name, _ in asked.sets):
        return False
    if change is None:
        return True
    swapped = f"{change.token}=>{change.into}".partition("=>")
    return change.do != "patch" and (change.do != "swap" or swapped[::2] == (change.token, change.into))


def _set(name: str, tokens: tuple[Any, ...]) -> str:
    """A set as the option takes it: with commas between, or as JSON if that would be read as something else."""
    plain = ",".join(map(str, tokens))
    return f"{name}={plain}" if _is_plain(tokens) else f"{name}={json.dumps(tokens)}"


def _is_plain(tokens: tuple[Any, ...]) -> bool:
    texts = [each for each in tokens if isinstance(each, str)]
    return not str(tokens[0]).startswith("[") and not any("," in each or each.strip().isdecimal() for each in texts)


def _option_of(change: Change) -> list[str]:
    words = {
        "swap": ["--swap", f"{change.token}=>{change.into}"],
        "strengthen": ["--steer", str(change.token)],
        "remove": ["--ablate", str(change.token)],
    }[change.do]
    words += [] if change.layers is None else ["--edit-layers", ",".join(change.layers)]
    words += [] if change.positions is None else ["--edit-positions", ",".join(map(str, change.positions))]
    return words + ([] if change.strength == 1 else ["--edit-strength", _number(change.strength)])
