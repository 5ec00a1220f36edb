"""logit_lens(): a prompt goes in, and what the model was about to say after every block comes out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from torch import nn

from bauklens.anatomy import Anatomy, resolve
from bauklens.errors import LensError
from bauklens.generation import chat_ids, continued
from bauklens.layout import nearest_modules
from bauklens.prompt import Prompt, encode
from bauklens.result import LensResult
from bauklens.run import How, Rows, Run, lens_of
from bauklens.select import Layers, Positions, checked_count, checked_topk, chosen_layers, chosen_positions, one_of
from bauklens.stream import EMBED, Edit, trace_stream
from bauklens.sublayers import Sublayers
from bauklens.wrappers import unwrapped

STREAMS = ("hidden", "delta", "attention", "mlp", "mid")
NORMS = ("own", "final", None)
PRECISIONS = ("auto", "exact")


@overload
def logit_lens(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt = ...,
    *,
    stream: str = ...,
    topk: int = ...,
    layers: Layers = ...,
    positions: Positions = ...,
    norm: str | None = ...,
    precision: str = ...,
    chunk_rows: int | None = ...,
    edit_output: Edit | None = ...,
    blocks: str | None = ...,
    head: str | None = ...,
    messages: Sequence[Mapping[str, Any]] | None = ...,
    max_new_tokens: int = ...,
    seed: int | None = ...,
    **generate_options: Any,
) -> LensResult: ...


@overload
def logit_lens(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt = ...,
    *,
    stream: Sequence[str],
    topk: int = ...,
    layers: Layers = ...,
    positions: Positions = ...,
    norm: str | None = ...,
    precision: str = ...,
    chunk_rows: int | None = ...,
    edit_output: Edit | None = ...,
    blocks: str | None = ...,
    head: str | None = ...,
    messages: Sequence[Mapping[str, Any]] | None = ...,
    max_new_tokens: int = ...,
    seed: int | None = ...,
    **generate_options: Any,
) -> list[LensResult]: ...


def logit_lens(
    model: nn.Module,
    tokenizer: Any,
    prompt: Prompt = None,
    *,
    stream: str | Sequence[str] = "hidden",
    topk: int = 5,
    layers: Layers = None,
    positions: Positions = None,
    norm: str | None = "own",
    precision: str = "auto",
    chunk_rows: int | None = None,
    edit_output: Edit | None = None,
    blocks: str | None = None,
    head: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    max_new_tokens: int = 0,
    seed: int | None = None,
    **generate_options: Any,
) -> LensResult | list[LensResult]:
    """Decodes the residual stream of a prompt, layer by layer, through the model's own final norm and head.

    The logit lens is nostalgebraist's ("interpreting GPT: the logit lens", 2020).

    Args:
        model: any causal language model of transformers, on any device or spread over several by accelerate; one that
            torch.compile, DataParallel, PEFT or NNsight has wrapped is unwrapped.
        tokenizer: its tokenizer; None where the prompt is ids (tokens then read ``<id>``).
        prompt: a string, a list of token ids, or a 1-D tensor of them.
        stream: ``"hidden"``, the rows "embed" (before block 0) and the output of every block; ``"delta"``, what every
            block adds; ``"attention"`` and ``"mlp"``, what each of its two sublayers adds, after any norm and scale
            that the block applies to their outputs; ``"mid"``, the stream between the two. A list gives a list of
            results, of one forward pass.
        topk: tokens to keep in each cell, 1 .. vocabulary.
        layers: the rows to decode: numbers of blocks (negative ones count from the last), or ``"embed"``; None is all.
            The forward pass ends after the last block that is needed; where that is not the model's last, there are no
            logits to check with, and the result says so.
        positions: the positions to decode (negative ones count from the last); None is all.
        norm: what a state goes through before the head. ``"own"``: the model's final norm. ``"final"``: the final norm
            with the scale that it has for the last block's output at that position, and without constant terms, so
            that the logits of "embed" and of all deltas add up (before a soft-cap, where the model has one: each row
            is capped by itself). None: no norm; the head, and what else the model does before and after it. The dotted
            name of a module: that one, where what runs in the model's own forward between the last block and the head
            is not right.
        precision: ``"exact"``: the model's own dtype throughout. ``"auto"``: where a float32 model is on a CPU that
            multiplies bfloat16 faster, the logits in bfloat16, the best of each row scored again in float32, and each
            row that cannot be vouched for to 1e-3 decoded again in float32 (:mod:`bauklens.mixed`). The result's
            provenance says which it was, and how many rows were decoded again.
        chunk_rows: most rows to decode at once; by default as many as make 128 MiB of logits, and fewer where memory
            runs out.
        edit_output: ``fn(output, layer)``, called with what each block returns and the block's name; what it returns is
            what the model goes on with (None: the output as it is). The check is against the edited model's logits.
        blocks, head: dotted names of the list of blocks and of the head, where those that are found by running the
            model are not right (:func:`bauklens.anatomy.resolve`).
        messages: a chat, ``[{"role": "user", "content": "..."}, ...]``, in the place of the prompt, written as the
            tokenizer's chat template has it.
        max_new_tokens: the most tokens that the model generates after the prompt; they stand in the table like those of
            the prompt, and ``generated_from`` tells where they begin.
        seed: of what is drawn, where tokens are sampled.
        generate_options: as transformers' ``generate`` takes them; by default it is greedy.

    Returns:
        The rows, with the check that the last block's logits, decoded here, are the model's own.

    Raises:
        LensError: the prompt is empty or longer than the context; an argument is out of range; the model is no causal
            language model, or has no such stream; a state is NaN or infinite; memory runs out; or the check fails.
    """
    names = [stream] if isinstance(stream, str) or not isinstance(stream, Iterable) else list(stream)
    if not names:
        raise LensError(f"stream is empty: pass at least one of {', '.join(STREAMS)}")
    for name in names:
        one_of("stream", name, STREAMS)
    one_of("precision", precision, PRECISIONS)
    if chunk_rows is not None:
        checked_count("chunk_rows", chunk_rows)
    if edit_output is not None and not callable(edit_output):
        raise LensError(f"edit_output must be a function of (output, layer); got {type(edit_output).__name__}")
    model = unwrapped(model)
    if messages is not None:
        if prompt is not None:
            raise LensError("a prompt and messages are given: pass one of them")
        prompt = chat_ids(tokenizer, messages)
    token_ids = encode(model, tokenizer, prompt)
    prompted = token_ids.shape[1]
    if max_new_tokens:
        if edit_output is not None:
            raise LensError(
                "edit_output acts on the lens, not on what is generated: generate first, then edit that text"
            )
        token_ids = continued(model, tokenizer, token_ids, max_new_tokens, seed=seed, options=generate_options)
    elif generate_options:
        raise TypeError(f"logit_lens() got an unexpected keyword argument {next(iter(generate_options))!r}")
    named = _named_norm(model, norm)
    anatomy = resolve(model, token_ids, blocks=blocks, norm=named, head=head)
    topk = checked_topk(topk, anatomy.vocabulary)
    layers = list(layers) if isinstance(layers, Iterator) else layers
    positions = list(positions) if isinstance(positions, Iterator) else positions
    chosen_positions(token_ids.shape[1], positions)
    for name in names:
        chosen_layers(_labels(anatomy, name), layers)
    sublayers = _sublayers(anatomy, names)
    needed = None if norm == "final" else _needed(anatomy, names, layers)
    traced = trace_stream(model, anatomy, token_ids, sublayers=sublayers, edit_output=edit_output, blocks=needed)
    ran = Run(model, tokenizer, prompt, token_ids, anatomy, traced, prompted)
    results = []
    for name in names:
        rows = _rows(ran, name, layers, positions)
        arguments = {
            "stream": name,
            "topk": topk,
            "layers": None if layers is None else rows.labels,
            "positions": None if positions is None else rows.positions,
            "norm": norm,
            "precision": precision,
            "chunk_rows": chunk_rows,
            "blocks": blocks,
            "head": head,
            "max_new_tokens": max_new_tokens,
            "seed": seed,
            **generate_options,
            "edit_output": getattr(edit_output, "__qualname__", None if edit_output is None else repr(edit_output)),
        }
        how = How(topk, norm if named is None else "own", precision, chunk_rows)
        results.append(lens_of(ran, rows, how, arguments=arguments))
    return results[0] if isinstance(stream, str) else results


def _named_norm(model: nn.Module, norm: Any) -> str | None:
    """The norm where it names a module, and is not one of the three kinds."""
    if norm in NORMS:
        return None
    if norm not in dict(model.named_modules()):
        near = "".join(f", {each!r}" for each in nearest_modules(model, norm))
        raise LensError(f"unknown norm {norm!r}: pass 'own', 'final' or None, or the name of a module{near}")
    return str(norm)


def _labels(anatomy: Anatomy, name: str) -> list[str]:
    return [EMBED, *anatomy.labels] if name == "hidden" else list(anatomy.labels)


def _rows(ran: Run, name: str, layers: Layers, positions: Positions) -> Rows:
    """The rows of a stream that are asked for."""
    labels, states = _labels(ran.anatomy, name), ran.stream.named(name)
    rows, columns = chosen_layers(labels, layers), chosen_positions(ran.token_ids.shape[1], positions)
    states = states if layers is None else states[rows]
    states = states if positions is None or ran.anatomy.whole else states[:, columns]
    return Rows(name, states, [labels[row] for row in rows], columns)


def _sublayers(anatomy: Anatomy, names: Sequence[str]) -> Sublayers | None:
    """The sublayers where a stream needs them; refuses ``mid`` where both are given the same state."""
    if not {"attention", "mlp", "mid"} & set(names):
        return None
    found = anatomy.require_sublayers()
    if "mid" in names and not found.sequential:
        raise LensError(
            f"the blocks of {anatomy.model_class} give attention and MLP the same state, so there is no stream 'mid' "
            "between them: pass 'attention', 'mlp', 'delta' or 'hidden'"
        )
    return found


def _needed(anatomy: Anatomy, names: Sequence[str], layers: Layers) -> int | None:
    """How many blocks the rows need; None where that is all, or where only a whole run can be followed."""
    if layers is None or not anatomy.plain or len(set(anatomy.blocks)) < len(anatomy.blocks):
        return None
    last = max(max(chosen_layers(_labels(anatomy, name), layers)) + (name != "hidden") for name in names)
    return max(1, last) if last < len(anatomy.blocks) else None
