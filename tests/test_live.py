"""The live page's server: who may ask, what is told and in which order, and what happens if something goes wrong."""

import json
import socket
import threading
import time
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from http.client import HTTPException

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

import bauklens
from bauklens.decode.unembed import Rows
from bauklens.decoders.learned import LearnedDecoder
from bauklens.errors import LensError
from bauklens.live import app, connections, growing, looking, looks
from bauklens.live import told as told_module
from bauklens.live.again import as_command
from bauklens.live.asked import Asked
from bauklens.live.looking import Looking
from bauklens.live.told import told
from bauklens.live.worker import MOST_WAITING, BusyError, Job, Stopped, Worker
from bauklens.model.encoding import encode
from bauklens.progress import watched
from bauklens.result.tokens import column_heads, token_texts, visible
from tests.live import Client, events_in, first
from tests.tiny import WIDTH, tiny_model, tiny_tokenizer

TEXT = "the tower in the city"


@pytest.fixture(scope="module")
def model():
    return tiny_model("gpt2")


@pytest.fixture(scope="module")
def live(model):
    with bauklens.serve(model, tiny_tokenizer()) as live:
        yield live


@pytest.fixture
def client(live):
    return Client(live)


def test_the_page_is_there_without_the_token_and_knows_nothing(live):
    status, html = Client(live, Authorization="").ask("/")
    assert status == 200
    assert "GPT2" not in html
    assert live.url.partition("token=")[2] not in html
    assert "http:" not in html.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("path", ["/about", "/tokens", "/look", "/fit", "/save", "/nowhere"])
@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer wrong", "Basic abc", "Bearer \xe9"])
def test_nothing_else_is_without_the_token(live, path, token):
    status, text = Client(live, Authorization=token).ask(path, {"prompt": TEXT})
    assert status == 401
    assert text.startswith("the token is missing or wrong")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.1", "[::2]"])
def test_another_name_of_this_server_is_refused(client, host):
    assert client.ask("/about", Host=host)[0] in (400, 421)
    assert client.ask("/", Host=host)[0] in (400, 421)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://localhost"])
def test_another_page_is_refused_although_it_has_the_token(client, origin):
    status, text = client.ask("/look", {"prompt": TEXT}, Origin=origin)
    assert (status, text.partition(":")[0]) == (403, "the request comes from another page")
    assert client.ask("/about", **{"Sec-Fetch-Site": "cross-site"})[0] == 403


def test_its_own_origin_is_not(live, client):
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{client.port}"
        assert client.ask("/tokens", {"prompt": TEXT}, Host=host, Origin=f"http://{host}")[0] == 200


def test_answers_say_what_a_browser_may_do_with_them(client):
    connection, found = client.send("GET", "/")
    connection.close()
    policy = found.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in found.headers
    assert client.ask("/look", {}, Origin="http://evil.example")[0] == 403


def test_a_body_that_is_too_large_is_refused_whatever_its_header_says(client):
    large = b"x" * (3 << 20)
    try:
        status, text = client.ask("/look", body=large)
    except (ConnectionError, BrokenPipeError):  # it answered and hung up while we were sending
        status, text = 413, "the request is too large"
    assert (status, text[:24]) == (413, "the request is too large")
    assert client.ask("/look", body=iter([b"x" * 1000] * 1100))[0] == 413  # chunked, without a length
    assert client.json("/about")["model"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "must be a JSON object"),
        ("{}", "the prompt is empty"),
        ('{"prompt": 3}', "prompt must be a text"),
        ('{"prompt": "\\ud800"}', "not valid Unicode"),
        ('{"prompt": "the", "topk": 1000}', "topk must be a whole number from 1 to 50"),
        ('{"prompt": "the", "topk": true}', "topk must be a whole number"),
        ('{"prompt": "the", "stream": "../../etc"}', "stream is '../../etc'"),
        ('{"prompt": "the", "new_tokens": 1e9}', "new_tokens must be a whole number"),
        ('{"prompt": "the", "change": {"do": "eval"}}', "do is 'eval'"),
        ('{"prompt": "the", "change": {"do": "swap", "token": 5}}', "a token is a text or an id"),
        ('{"prompt": "the", "change": {"do": "patch"}}', "the other prompt is empty"),
        ('{"prompt": "the", "change": {"do": "remove", "token": 5, "strength": NaN}}', "strength must be a number"),
        ('{"prompt": "the", "messages": [{"role": "user", "content": "a"}]}', "a prompt or a chat"),
        ('{"messages": [{"role": "root", "content": "a"}]}', "role is 'root'"),
    ],
)
def test_bad_input_gets_one_line(client, body, said):
    status, text = client.ask("/look", body=body)
    assert status == 400
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"decoder": "/etc/passwd"}, "unknown decoder '/etc/passwd'"),
        ({"decoder": "demo"}, "unknown decoder 'demo'"),
        ({"targets": [5000]}, "5000"),
        ({"replaced": [[99, "a"]]}, "position 99 does not exist"),
        ({"change": {"do": "remove", "token": 5, "layers": ["99"]}}, "99"),
        ({"change": {"do": "remove", "token": 5, "positions": [99]}}, "99"),
        ({"change": {"do": "patch", "positions": [0]}, "other": "the"}, "no counterpart"),
        ({"prompt": "the " * 100}, "context"),
    ],
)
def test_what_the_model_cannot_do_fails_in_one_line_and_the_next_look_is_none_the_worse(client, data, said):
    events = client.events("/look", {"prompt": TEXT, **data})
    assert events[-1][0] == "failed"
    assert said in events[-1][1]
    assert client.events("/look", {"prompt": TEXT})[-1][0] == "end"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = [*Asked.__dataclass_fields__, "page"]


@hypothesis.given(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6))
@hypothesis.settings(max_examples=400, deadline=None)
def test_whatever_is_asked_is_understood_or_refused_in_one_line(data):
    asked, refused = None, ""
    try:
        asked = Asked.of(data)
    except LensError as error:
        refused = str(error)
    assert "\n" not in refused
    assert len(refused) < 400
    assert asked is None or bool(asked.prompt) != bool(asked.messages)


def test_the_tokens_are_those_that_the_model_reads(client):
    found = client.json("/tokens", {"prompt": TEXT})["tokens"]
    assert [each[0] for each in found] == tiny_tokenizer()(TEXT).input_ids
    assert found[1][1].startswith("␣")


def test_a_table_is_told_from_below_and_its_cells_are_the_lens(model, client):
    events = client.events("/look", {"prompt": TEXT, "topk": 3})
    names = [name for name, _ in events]
    order = ["queued", "prompt", "table", "cells", "done", "end"]
    assert [name for name in dict.fromkeys(names) if name != "progress"] == order
    lens = bauklens.logit_lens(model, tiny_tokenizer(), TEXT, topk=3)
    assert first(events, "table")["layers"] == list(lens.layers)
    assert first(events, "table")["tokens"] == [visible(each) for each in lens.tokens]
    cells = [cell for name, value in events if name == "cells" for cell in value]
    told = {(row, column): (token, share) for row, column, token, share in cells}
    assert set(told) == {(row, column) for row in range(len(lens.layers)) for column in range(len(lens.tokens))}
    for (row, column), (token, share) in told.items():
        assert token == visible(lens.vocabulary[int(lens.top_ids[row, column, 0])])
        assert share == pytest.approx(float(lens.top_probs[row, column, 0]), abs=6e-4)
    assert cells[0][0] == len(lens.layers) - 1  # the model's own answer is there first
    last = len(lens.layers) - 1, len(lens.tokens) - 1
    rest = [row for row, column, *_ in cells if row < last[0] and column < last[1]]
    assert rest == sorted(rest)


def test_the_prompt_is_told_first_and_generated_columns_as_they_come(model, client):
    events = client.events("/look", {"prompt": TEXT, "new_tokens": 8, "topk": 3})
    generated = [value["tokens"] for name, value in events if name == "generated"]
    assert [len(each) for each in generated] == list(range(1, 9))
    tables = [value for name, value in events if name == "table"]
    count = len(first(events, "prompt")["tokens"])
    assert [each["positions"] for each in tables[:2]] == [list(range(count)), [count]]
    assert tables[-1]["positions"] == list(range(count + 8))
    assert tables[-1]["tokens"][count:] == generated[-1]
    names = [name for name, _ in events if name != "progress"]
    begun = names.index("generated")
    assert "cells" in names[:begun]
    assert "cells" in names[begun : names.index("generated", begun + 1)]

    lens = bauklens.logit_lens(model, tiny_tokenizer(), TEXT, max_new_tokens=8, topk=3)
    assert lens.generated_from == count
    shown, positions = 0, []
    for name, value in events:
        if name == "table":
            positions = value["positions"]
        for row, column, token, share in value if name == "cells" else ():
            place = row, positions[column]
            assert token == visible(lens.vocabulary[int(lens.top_ids[place][0])])
            assert share == pytest.approx(float(lens.top_probs[place][0]), abs=6e-4)
            shown += 1
    assert shown >= (2 * count + 9) * len(lens.layers)


def test_columns_that_cannot_be_shown_early_come_with_the_finished_text(client, monkeypatch):
    calls = []

    def lens(*given, positions=None, **options):
        calls.append(positions)
        if len(calls) > 2:
            raise LensError("this text cannot be read")
        return bauklens.logit_lens(*given, positions=positions, **options)

    monkeypatch.setattr(looking, "logit_lens", lens)
    events = client.events("/look", {"prompt": TEXT, "new_tokens": 8})
    assert len(calls) == 3
    assert [len(value["tokens"]) for name, value in events if name == "generated"] == list(range(1, 9))
    assert len(first(events, "table")["positions"]) + 8 == len([v for n, v in events if n == "table"][-1]["positions"])
    assert events[-1][0] == "end"


def test_a_look_is_stopped_while_it_shows_a_column(model):
    there, tables = Looking.at(model, tiny_tokenizer(), []), []

    def tell(name, value):
        if name == "table":
            tables.append(list(value.positions))
            if len(tables) == 2:
                job.cancel()

    asked = Asked.of({"prompt": TEXT, "new_tokens": 8})
    job = Job("", lambda _: None, tell, 60)
    with watched(job), pytest.raises(Stopped):
        there.look(asked, job)
    assert [len(each) for each in tables[1:]] == [1]
    expected = bauklens.logit_lens(model, tiny_tokenizer(), TEXT, max_new_tokens=8)
    job = Job("", lambda _: None, lambda *_: None, 60)
    with watched(job):
        assert np.array_equal(there.look(asked, job).clean.top_ids, expected.top_ids)


def test_a_long_table_fills_in_at_its_end(live):
    events = Client(live).events("/look", {"prompt": "a b " * 18})
    table = first(events, "table")
    count = len(first(events, "prompt")["tokens"])
    assert count > 48
    assert table["positions"] == list(range(count - 48, count))


@pytest.mark.parametrize(
    ("other", "align"),
    [
        ("a city in the tower in the sea", lambda here, there: {2: 2 + there - here}),
        ("the sea", lambda here, there: {here - 1: there - 1}),
    ],
    ids=["longer", "shorter"],
)
def test_a_patch_from_a_prompt_of_another_length_counts_from_the_end(model, client, other, align):
    tokenizer = tiny_tokenizer()
    here, there = (len(tokenizer(each).input_ids) for each in (TEXT, other))
    assert here != there
    aligned = align(here, there)
    asked = {"prompt": TEXT, "other": other, "change": {"do": "patch", "positions": list(aligned)}}
    events = client.events("/look", asked)
    expected = bauklens.logit_lens(model, tokenizer, TEXT, edits=bauklens.edits.patch(other, align=aligned))
    found = client.json("/save", {"name": first(events, "done")["name"], "form": "json"})["other"]
    assert np.allclose(found["top_probs"], expected.top_probs, atol=1e-6)
    assert found["top_ids"] == expected.top_ids.tolist()


def test_a_position_without_a_counterpart_is_said(client):
    asked = {"prompt": TEXT, "other": "the sea", "change": {"do": "patch", "positions": [0]}}
    [(name, said)] = client.events("/look", asked)[-1:]
    assert (name, "position 0 has no counterpart: make the other one longer" in said) == ("failed", True)


@pytest.mark.parametrize("do", ["swap", "strengthen", "remove", "patch"])
def test_a_change_is_what_the_package_does(model, client, do):
    tokenizer = tiny_tokenizer()
    change = {"do": do, "token": " city", "into": " sea", "layers": ["1", "2"], "strength": 2, "positions": [1]}
    asked = {"prompt": TEXT, "change": change, "other": "the city in the tower"}
    events = client.events("/look", asked)
    assert events[-1][0] == "end", events[-1]
    where = {"layers": ["1", "2"], "positions": [1]}
    edit = {
        "swap": lambda: bauklens.edits.swap(None, " city", " sea", strength=2, **where),
        "strengthen": lambda: bauklens.edits.steer(None, " city", strength=2, **where),
        "remove": lambda: bauklens.edits.ablate(None, " city", strength=2, **where),
        "patch": lambda: bauklens.edits.patch("the city in the tower", **where),
    }[do]()
    expected = bauklens.intervene(model, tokenizer, TEXT, edit, controls=10)
    told = [value for name, value in events if name == "answers"]
    assert [each["done"] for each in told] == [False, True]
    for row, condition in zip(told[-1]["rows"], ("clean", "edited"), strict=False):
        assert row["top"] == visible(expected.vocabulary[int(expected.top[condition][0])])
        assert row["probability"] == pytest.approx(expected.probability[condition][0].tolist(), abs=1e-6)
    assert told[-1]["controls"] == expected.controls == (0 if do == "patch" else 10)
    if expected.controls:
        mean = expected.probability["control"][:, 0].mean(axis=0)
        assert told[-1]["rows"][2]["probability"] == pytest.approx(mean.tolist(), abs=1e-5)
    assert told[-1]["rows"][1]["text"] == bauklens.generate(model, tokenizer, TEXT, edits=edit, max_new_tokens=16).text


def saved(client, events):
    return client.json("/save", {"name": first(events, "done")["name"], "form": "json"})


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": TEXT, "topk": 4, "stream": "delta"},
        {"prompt": 'it\'s "quoted" \\ and \n new', "targets": [" city", 7], "new_tokens": 3},
        {"prompt": TEXT, "sets": [{"name": "places", "tokens": [" city", " sea"]}]},
        {"prompt": TEXT, "change": {"do": "swap", "token": " city", "into": " sea", "layers": ["1"]}},
        {"prompt": TEXT, "change": {"do": "patch", "positions": [2]}, "other": "the city in the tower"},
        {"prompt": TEXT, "change": {"do": "patch"}, "other": "a city in the tower"},
        {"prompt": TEXT, "replaced": [[1, " sea"]]},
    ],
)
def test_the_python_that_is_shown_makes_the_same_table(model, client, asked, monkeypatch):
    events = client.events("/look", asked)
    program = first(events, "done")["python"]
    monkeypatch.setattr(bauklens, "load", lambda name: (model, tiny_tokenizer()))
    *lines, last = program.split("\n")
    names = {}
    exec("\n".join(lines), names)
    assert last.endswith('in a script, add .to_html("lens.html")')
    shown = eval(last, names)
    assert "<html" in shown.to_html()
    again = shown.to_dict()
    there = saved(client, events)
    for found in (again, there):
        for lens in (found, found.get("one", {}), found.get("other", {})):
            for key in ("provenance", "prompt"):
                lens.pop(key, None)
    assert json.loads(json.dumps(again)) == there


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "-the tower's", "topk": 4, "stream": "delta", "targets": [" city"], "new_tokens": 2},
        {
            "prompt": TEXT,
            "change": {"do": "swap", "token": " city", "into": " sea", "layers": ["1", "2"], "strength": 2},
        },
    ],
)
def test_the_command_that_is_shown_is_one(client, asked):
    import shlex

    from bauklens.cli.commands import lens

    command = first(client.events("/look", asked), "done")["command"]
    words = shlex.split(command)
    assert words[:2] == ["bauklens", "lens"]
    context = lens.make_context("lens", words[2:])
    assert context.params["prompt"] == asked["prompt"]
    assert context.params["topk"] == asked.get("topk", 5)
    assert context.params["swap"] == ((" city=> sea",) if "change" in asked else ())
    assert context.params["edit_strength"] == (2 if "change" in asked else 1)


TEMPLATE = "{% for each in messages %}{{ each.content }} {% endfor %}{% if add_generation_prompt %}the{% endif %}"


@pytest.mark.parametrize("roles", [["user"], ["user", "assistant"]])
@pytest.mark.parametrize(
    "asked",
    [
        {"replaced": [[1, " sea"]], "topk": 3, "targets": [" city"]},
        {"replaced": [[1, " sea"], [0, 7]], "stream": "delta"},
        {"change": {"do": "swap", "token": " city", "into": " sea", "strength": 1.23456789}, "new_tokens": 3},
        {"change": {"do": "patch", "layers": ["1"], "positions": [4]}, "other": "a sea is in the tower"},
    ],
)
def test_the_python_of_a_chat_makes_the_same_table(model, roles, asked, monkeypatch):
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.chat_template = TEMPLATE
    with bauklens.serve(model, tokenizer) as live:
        client = Client(live)
        chat = [{"role": role, "content": text} for role, text in zip(roles, (TEXT, "a sea"), strict=False)]
        events = client.events("/look", {"messages": chat, **asked})
        there = saved(client, events)
    monkeypatch.setattr(bauklens, "load", lambda name: (model, tokenizer))
    *lines, last = first(events, "done")["python"].split("\n")
    names = {}
    exec("\n".join(lines), names)
    again = json.loads(json.dumps(eval(last, names).to_dict()))
    for lens in (again["one"], again["other"], there["one"], there["other"]):
        lens.pop("provenance")
        lens.pop("prompt")
    assert again == there


@pytest.mark.parametrize(
    "asked",
    [
        {"targets": [" city", "-x", "the tower"]},
        {"sets": [{"name": "digits", "tokens": ["1", "2"]}]},
        {"sets": [{"name": "digits", "tokens": [5, "6", 7]}]},
        {"sets": [{"name": "marks", "tokens": ["[", "]"]}, {"name": "commas", "tokens": [",", " a, b"]}]},
        {"sets": [{"name": "a=b", "tokens": ["c"]}]},
        {"change": {"do": "swap", "token": "=>", "into": " sea"}},
        {"change": {"do": "swap", "token": "a=", "into": ">b"}},
        {"change": {"do": "swap", "token": "a", "into": "b=>c"}},
        {"change": {"do": "strengthen", "token": " city", "strength": 1.23456789}},
        {"change": {"do": "remove", "token": " city, sea", "strength": -0.1, "positions": [-1, 2]}},
        {"prompt": "a\0b"},
        {"prompt": "a\n'b\" $HOME"},
    ],
)
def test_a_command_that_is_shown_is_read_as_what_was_asked(asked):
    import shlex

    from bauklens.cli.commands import lens
    from bauklens.cli.option_values import lens_arguments

    asked = Asked.of({"prompt": TEXT, **asked})
    command = as_command(asked, "demo", {})
    if not command:
        assert "=" in str(asked.sets) or "=>" in str(asked.change) or "\0" in asked.prompt
        return
    given = lens.make_context("lens", shlex.split(command)[2:]).params
    assert given["prompt"] == asked.prompt
    arguments = lens_arguments(dict(given))
    assert arguments["words"] == ("first" if asked.targets or asked.sets else "whole")
    assert (arguments["targets"] or []) == [*asked.targets, *({name: list(ids)} for name, ids in asked.sets)]
    if asked.change:
        assert given["edit_strength"] == asked.change.strength
        wanted = [[asked.change.token, "=>", asked.change.into]] if asked.change.do == "swap" else []
        assert [[*each.partition("=>")] for each in given["swap"]] == wanted


def test_what_no_command_can_say_has_none(client):
    assert first(client.events("/look", {"prompt": TEXT, "replaced": [[0, " sea"]]}), "done")["command"] == ""


def test_a_look_is_saved_as_a_page_that_needs_no_server(client):
    events = client.events("/look", {"prompt": TEXT})
    done = first(events, "done")
    status, html = client.ask("/save", {"name": done["name"], "form": "page", "state": {"colour": "entropy"}})
    assert status == 200
    assert '"colour":"entropy"' in html
    assert f":{client.port}" not in html
    assert client.ask("/save", {"name": "another", "form": "page"})[0] == 410


def test_twenty_pages_are_served_in_turn_and_none_is_lost(model, live):
    prompts = [
        f"the {word} in the {word}"
        for word in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"]
    ]
    found = {}

    def ask(number):
        found[number] = Client(live).events("/look", {"prompt": prompts[number], "page": f"page {number}"})

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    for number, prompt in enumerate(prompts):
        assert found[number][-1][0] == "end"
        table = first(found[number], "table")
        assert table["tokens"] == [
            visible(each) for each in bauklens.logit_lens(model, tiny_tokenizer(), prompt).tokens
        ]


class Slow(torch.nn.Module):
    """Lets a test hold up a model's first block."""

    def __init__(self, block):
        super().__init__()
        self.block, self.open, self.begun = block, threading.Event(), threading.Event()

    def forward(self, *args, **options):
        self.begun.set()
        assert self.open.wait(30)
        return self.block(*args, **options)


@pytest.fixture
def held():
    """A server whose model waits in its first block until ``open`` is set."""
    model = tiny_model("gpt2")
    with bauklens.serve(model, tiny_tokenizer()) as live:
        Client(live).events("/look", {"prompt": "the"})
        slow = Slow(model.transformer.h[0].mlp)
        slow.open.set()
        model.transformer.h[0].mlp = slow
        Client(live).events("/look", {"prompt": "the"})  # it is read again
        slow.begun.clear()
        slow.open.clear()
        yield live, slow
        slow.open.set()


def test_the_next_look_of_a_page_cancels_the_one_before(held):
    live, slow = held
    client, found = Client(live), {}

    def ask(name, page):
        found[name] = client.events("/look", {"prompt": f"the {name}", "page": page})

    threads = [threading.Thread(target=ask, args=each) for each in (("sea", "one"), ("city", "two"))]
    threads[0].start()
    assert slow.begun.wait(30)
    threads[1].start()
    time.sleep(0.5)
    threads.append(threading.Thread(target=ask, args=("tower", "one")))
    threads[2].start()
    time.sleep(0.5)
    slow.open.set()
    for each in threads:
        each.join(60)
    assert found["sea"][-1] == ("stopped", None)
    assert found["city"][-1][0] == "end"
    assert found["tower"][-1][0] == "end"


def test_a_page_that_is_closed_frees_its_work(held):
    live, slow = held
    connection, answer = Client(live).send("POST", "/look", {"prompt": "the", "new_tokens": 40, "page": "one"})
    assert answer.readline() == b"event: queued\n"
    assert slow.begun.wait(30)
    connection.sock.close()
    answer.close()
    connection.close()
    time.sleep(0.5)
    slow.open.set()
    calls = []
    slow.register_forward_pre_hook(lambda *_: calls.append(1))
    time.sleep(0.5)
    assert len(calls) <= 1  # 40 tokens were asked for


def test_too_many_at_once_are_told_to_come_again():
    worker, gate = Worker(), threading.Event()
    told = []
    worker.add(Job("first", lambda _: gate.wait(30), lambda *each: told.append(each), 60))
    time.sleep(0.2)
    jobs = [
        Job(f"page {number}", lambda _: None, lambda *each: told.append(each), 60) for number in range(MOST_WAITING)
    ]
    assert [worker.add(job) for job in jobs] == list(range(1, MOST_WAITING + 1))
    with pytest.raises(BusyError):
        worker.add(Job("one more", lambda _: None, lambda *_: None, 60))
    gate.set()
    worker.close(30)


def test_what_takes_too_long_ends_with_a_sentence():
    with bauklens.serve(tiny_model("gpt2"), tiny_tokenizer(), seconds=1e-6) as live:
        events = Client(live).events("/look", {"prompt": TEXT})
        assert events[-1][0] == "failed"
        assert "longer than 0 seconds" in events[-1][1]
        assert Client(live).json("/about")


def test_a_model_that_raises_is_told_of_and_does_not_end_the_server():
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    bad = tokenizer(" sea").input_ids[0]

    class Raises(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.weight = inner, inner.weight

        def forward(self, ids):
            if (ids == bad).any():
                raise RuntimeError("it\nis broken")
            return self.inner(ids)

    model.transformer.wte = Raises(model.transformer.wte)
    with bauklens.serve(model, tokenizer) as live:
        events = Client(live).events("/look", {"prompt": "the sea"})
        assert events[-1][0] == "failed"
        assert "it is broken" in events[-1][1]
        assert Client(live).events("/look", {"prompt": "the tower"})[-1][0] == "end"


def test_the_model_is_as_it_was_after_a_stop_in_the_middle(held):
    live, slow = held
    before = slow.training, len(slow._forward_hooks)
    thread = threading.Thread(target=lambda: suppressed(live))
    thread.start()
    assert slow.begun.wait(30)
    threading.Timer(0.3, slow.open.set).start()
    live.stop()
    thread.join(30)
    assert (slow.training, len(slow._forward_hooks)) == before
    with pytest.raises(ConnectionRefusedError):
        Client(live).ask("/about")
    assert repr(live) == "<Live page, stopped>"


def suppressed(live):
    """A look whose server ends meanwhile."""
    with suppress(OSError, HTTPException, AssertionError, ValueError):
        Client(live).events("/look", {"prompt": "the", "new_tokens": 30})


def test_a_page_knows_which_layers_a_decoder_has_a_map_for(model):
    sparse = LearnedDecoder({"1": torch.eye(WIDTH)}, name="sparse")
    with bauklens.serve(model, tiny_tokenizer(), decoders=sparse) as live:
        client = Client(live)
        mapped = client.json("/about")["mapped"]["sparse"]
        assert mapped == ["1", "2"]  # the last block needs none
        change = {"do": "swap", "token": " tower", "into": " city"}
        for layers, last in ((mapped, "end"), (["0", *mapped], "failed")):
            asked = {"prompt": TEXT, "decoder": "sparse", "change": {**change, "layers": layers}}
            assert client.events("/look", asked)[-1][0] == last


def test_a_quick_decoder_is_fitted_and_is_there_the_next_time(tmp_path, monkeypatch):
    monkeypatch.setenv("BAUKLENS_CACHE", str(tmp_path))
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    with bauklens.serve(model, tokenizer) as live:
        client = Client(live)
        assert client.json("/about")["fit"]
        events = client.events("/fit", {})
        assert events[-1][0] == "end", events[-1]
        assert first(events, "fitted")["decoder"] == "quick"
        assert first(events, "fitted")["mapped"] == client.json("/about")["mapped"]["quick"] == ["0", "1", "2"]
        assert any(name == "progress" for name, _ in events)
        assert client.json("/about")["decoders"] == [["logit", "logit lens"], ["quick", "Jacobian lens quick"]]
        quick = saved(client, client.events("/look", {"prompt": TEXT, "decoder": "quick"}))
        assert quick["decoder"] == "quick"
    with bauklens.serve(model, tokenizer) as live:
        about = Client(live).json("/about")
        assert [each[0] for each in about["decoders"]] == ["logit", "quick"]
        assert not about["fit"]
    with bauklens.serve(tiny_model("llama", seed=1), tokenizer) as live:
        assert Client(live).json("/about")["fit"]


@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_looks(live):
    import psutil

    client, process = Client(live), psutil.Process()
    sizes = []
    for number in range(300):
        client.events("/look", {"prompt": f"the tower {number}"})
        if number in (149, 299):
            sizes.append(process.memory_info().rss)
    assert sizes[1] - sizes[0] < 20 << 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "0.0.0.0"}, "pass token="),
        ({"token": "short"}, "shorter than 8"),
        ({"token": "has spaces here"}, "letters, digits"),
        ({"port": 1 << 20}, "cannot listen"),
        ({"host": "203.0.113.7", "token": "abcdefgh"}, "cannot listen"),
        ({"decoders": "nowhere.pt"}, "nowhere.pt"),
    ],
)
def test_what_cannot_be_served_says_so(model, options, said):
    with pytest.raises(LensError, match=said):
        bauklens.serve(model, tiny_tokenizer(), **options)


def test_a_port_that_is_taken_says_so(model, live):
    with pytest.raises(LensError, match="cannot listen on 127"):
        bauklens.serve(model, tiny_tokenizer(), port=Client(live).port)


def test_without_a_tokenizer_there_is_nothing_to_type_to(model):
    with pytest.raises(LensError, match="needs a tokenizer"):
        bauklens.serve(model)


def test_in_a_notebook_it_is_a_link(live):
    assert live.url in live._repr_html_()


def test_events_are_read_as_they_are_written():
    assert events_in('event: a\ndata: "b"\n\nevent: end\ndata: null\n\n') == [("a", "b"), ("end", None)]


def test_each_request_has_an_end_although_the_next_of_its_page_takes_its_place():
    worker, gate, told = Worker(), threading.Event(), []
    worker.add(Job("one", lambda _: gate.wait(30), lambda *_: None, 60))
    for name in ("first", "second"):
        worker.add(Job("two", lambda _: None, lambda what, _, name=name: told.append((name, what)), 60))
    assert told == [("first", "stopped")]
    gate.set()
    worker.close(30)
    last = Job("three", lambda _: None, lambda *_: None, 60)
    with pytest.raises(BusyError):
        worker.add(last)
    assert told[0] == ("first", "stopped")
    assert [name for name, _ in told] == ["first", "second"]


class NoTextError(Exception):
    def __str__(self):
        raise ValueError("no text")


@pytest.mark.parametrize("error", [NoTextError(), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()])
def test_whatever_a_model_raises_the_next_request_is_done(error):
    worker, told = Worker(), []

    def raises(_):
        raise error

    for work in (raises, lambda _: None):
        worker.add(Job(str(work), work, lambda *each: told.append(each), 60))
    until(lambda: len(told) == 2)
    worker.close(30)
    assert [name for name, _ in told] == ["failed", "end"]
    assert told[0][1]
    assert "\n" not in told[0][1]


def test_whoever_waits_runs_the_model_until_the_server_is_stopped():
    model = tiny_model("gpt2")
    ran = []
    model.register_forward_pre_hook(lambda *_: ran.append(threading.current_thread()))
    live = bauklens.serve(model, tiny_tokenizer())
    client = Client(live)
    ran.clear()
    assert client.events("/look", {"prompt": TEXT})[-1][0] == "end"
    (before,) = set(ran)
    assert before.name == "bauklens-live"
    waiting = threading.Thread(target=live.wait)
    waiting.start()
    until(lambda: not before.is_alive())
    ran.clear()
    assert client.events("/look", {"prompt": TEXT})[-1][0] == "end"
    assert set(ran) == {waiting}
    live.stop()
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_stop_waits_for_what_another_thread_runs():
    worker, begun, ended = Worker(), threading.Event(), []
    runner = threading.Thread(target=worker.run)
    runner.start()

    def work(job):
        begun.set()
        while job.is_wanted:
            time.sleep(0.01)
        time.sleep(0.2)
        ended.append(threading.current_thread())

    worker.add(Job("one", work, lambda *_: None, 60))
    assert begun.wait(30)
    worker.close(30)
    assert ended == [runner]
    runner.join(30)
    assert not runner.is_alive()


def test_progress_is_told_at_both_ends_and_now_and_then_between():
    told = []
    job = Job("one", lambda _: None, lambda what, value: told.append(value["done"]), 60)
    for done in range(1001):
        job.progressed("Reading", "row", done, 1000)
    assert told[0] == 0
    assert told[-1] == 1000
    assert len(told) < 100


def until(is_so):
    """Waits for something."""
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://a@b", "http://\uff0f"])
def test_an_origin_that_is_no_address_is_refused(client, origin):
    assert client.ask("/about", Origin=origin.encode("utf-8"))[0] == 403
    assert client.ask("/", Origin=origin.encode("utf-8"))[0] == 403


NOTES = [5, None, {"a": 1}, ["a"], [None], [[1]], [[1, 1, "a"]], [["1", 1, 5]], [["1", True, "a"]], [["1", 1, " "]]]


@pytest.mark.parametrize("notes", [*NOTES, [["1", 99, "a"]], [["99", 1, "a"]], [[{}, [], "a"]], [["1", {}, "a"]]])
def test_a_page_is_saved_whatever_its_state_is(client, notes):
    name = first(client.events("/look", {"prompt": TEXT}), "done")["name"]
    good = ["1", 1, "</script><script>alert(1)</script>"]
    given = [*notes, good] if isinstance(notes, list) else notes
    status, html = client.ask("/save", {"name": name, "form": "page", "state": {"notes": given, "x": "<!--<script>"}})
    assert status == 200, html
    assert "<script>alert(1)" not in html
    assert "<!--<script>" not in html
    assert ("alert(1)" in html) == isinstance(notes, list)


@pytest.mark.parametrize("state", ['{"a": NaN}', '{"a": [1e999]}', '{"a": ' + "[" * 500 + "]" * 500 + "}"])
def test_a_state_that_is_not_json_is_refused_in_a_line(client, state):
    name = first(client.events("/look", {"prompt": TEXT}), "done")["name"]
    status, text = client.ask("/save", body=f'{{"name": "{name}", "form": "page", "state": {state}}}')
    assert status == 400
    assert "not JSON" in text


def test_a_tokenizer_that_raises_is_told_of_in_a_line(model, caplog):
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.chat_template = TEMPLATE
    with bauklens.serve(model, tokenizer) as live:

        class Odd(type(tokenizer)):
            @property
            def all_special_ids(self):
                raise KeyError("of\nsomebody")

        tokenizer.__class__ = Odd
        connection, found = Client(live).send("POST", "/tokens", {"prompt": TEXT})
        text = found.read().decode()
        connection.close()
        assert (found.status, text) == (500, "KeyError: 'of\\nsomebody'")
        assert "content-security-policy" in found.headers
        assert Client(live).json("/about")["model"]


def test_a_body_that_ends_in_the_middle_is_no_error(live, client, caplog):
    with half_a_body(client):
        time.sleep(0.1)
    time.sleep(0.3)
    assert client.json("/about")["model"]
    assert "Traceback" not in caplog.text
    assert not caplog.records


def half_a_body(client, sent=None):
    """A connection that sends a part of a request."""
    head = f"POST /look HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: {client.headers['Authorization']}\r\n"
    found = socket.create_connection((client.host, client.port), timeout=30)
    found.sendall((f"{head}Content-Length: 100\r\n\r\n{{" if sent is None else sent).encode())
    return found


@pytest.mark.parametrize("sent", ["", "GET / HT", "GET / HTTP/1.1\r\nHost: local"])
def test_a_connection_that_asks_for_nothing_is_closed(client, sent, monkeypatch):
    monkeypatch.setattr(connections, "SECONDS", 0.5)
    with half_a_body(client, sent) as idle:
        assert idle.recv(100) == b""
    whole = f"GET /favicon.ico HTTP/1.1\r\nHost: {client.host}\r\n\r\n"
    with half_a_body(client, whole) as idle:
        assert b" 204 " in idle.recv(4096)
        idle.sendall(b"GET / HT")
        assert idle.recv(4096) == b""


def test_a_body_that_does_not_come_is_not_waited_for(client, monkeypatch):
    monkeypatch.setattr(app, "BODY_SECONDS", 0.3)
    with half_a_body(client) as slow:
        slow.settimeout(10)
        answer = slow.makefile("rb").read()  # the server hangs up after it
        assert answer.startswith(b"HTTP/1.1 400")
        assert answer.endswith(b"the request did not arrive within 0 seconds")


def test_a_long_look_is_not_cut_off_by_what_closes_connections(held, monkeypatch):
    live, slow = held
    monkeypatch.setattr(connections, "SECONDS", 0.3)
    threading.Timer(1, slow.open.set).start()
    assert Client(live).events("/look", {"prompt": "the"})[-1][0] == "end"


def test_another_page_that_asks_for_a_socket_gets_none_and_no_log(client, caplog):
    key = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "eA==", "Sec-WebSocket-Version": "13"}
    assert client.ask("/", Origin="http://evil.example", **key)[0] == 403
    assert not caplog.records


def test_a_slow_tokenizer_holds_up_nobody_else(model):
    tokenizer, gate, begun = tiny_tokenizer(), threading.Event(), threading.Event()
    with bauklens.serve(model, tokenizer) as live:

        class Slow(type(tokenizer)):
            @property
            def all_special_ids(self):
                begun.set()
                gate.wait(30)
                return []

        tokenizer.__class__ = Slow
        found = []
        thread = threading.Thread(target=lambda: found.append(Client(live).ask("/tokens", {"prompt": TEXT})[0]))
        thread.start()
        assert begun.wait(30)
        before = time.monotonic()
        assert Client(live).json("/about")["model"]
        assert Client(live).events("/look", {"prompt": TEXT})[-1][0] == "end"
        assert time.monotonic() - before < 20
        gate.set()
        thread.join(30)
        assert found == [200]


def test_a_server_that_cannot_start_leaves_no_thread(model, live):
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(LensError):
            bauklens.serve(model, tiny_tokenizer(), port=Client(live).port)
    assert threading.active_count() == before


def test_the_looks_that_are_kept_are_counted_in_bytes(model, monkeypatch):
    there = Looking.at(model, tiny_tokenizer(), [])
    asked = Asked.of({"prompt": TEXT, "topk": 50, "targets": [" city"]})
    looked = there.look(asked, Job("", lambda _: None, lambda *_: None, 60))
    lens = looked.clean
    arrays = (lens.top_ids, lens.top_probs, lens.magnitude, lens.targets[0].rank, lens.tracked.rank)
    assert looks.bytes_of(looked, set()) > sum(each.nbytes for each in arrays)
    monkeypatch.setattr(looks, "MOST_BYTES", 3 * looks.bytes_of(looked, set()))
    kept = looks.Looks()
    names = [kept.add(replace(looked)) for _ in range(5)]
    assert [kept.named(each) is not None for each in names] == [False, False, True, True, True]


def test_a_decoder_that_is_there_is_not_fitted_again(tmp_path, monkeypatch):
    monkeypatch.setenv("BAUKLENS_CACHE", str(tmp_path))
    with bauklens.serve(tiny_model("llama"), tiny_tokenizer()) as live:
        found = [first(Client(live).events("/fit", {}), "fitted") for _ in range(2)]
        assert found[0] == found[1]
        assert [name for name, _ in Client(live).json("/about")["decoders"]] == ["logit", "quick"]


def test_neither_prompt_may_be_longer_than_what_is_said(client, monkeypatch):
    monkeypatch.setattr(looking, "MOST_TOKENS", 5)
    longer = "a b c d e f g h"
    patch = {"prompt": "the", "change": {"do": "patch"}, "other": longer}
    for asked, which in (({"prompt": longer}, "the prompt"), (patch, "the other prompt")):
        events = client.events("/look", asked)
        assert events[-1][0] == "failed"
        assert events[-1][1].startswith(f"{which} has ")
        assert events[-1][1].endswith(": shorten it to 5")


def heads(tokenizer, ids):
    """What the columns of a text are called."""
    texts = token_texts(tokenizer, ids)
    return [visible(head) for head, _ in column_heads([texts[each] for each in ids], range(len(ids)))]


def test_a_character_of_several_tokens_is_a_heading_wherever_the_columns_begin(model, monkeypatch):
    monkeypatch.setattr(looking, "COLUMNS", 3)
    monkeypatch.setattr(told_module, "COLUMNS", 3)
    tokenizer = tiny_tokenizer()
    ids = encode(model, tokenizer, "a 😀").ids[0].tolist()
    assert heads(tokenizer, ids)[-4:] == ["😀", *"←←←"]
    written = told(tokenizer)
    written("prompt", ids[:-2])
    assert written("generated", ids[-2:])[1] == {"tokens": ["←", "←"], "kept": 0}
    rows = Rows("hidden", torch.zeros(1, len(ids), 2), ["0"], list(range(len(ids))))
    assert written("table", rows)[1]["tokens"] == ["←", "←", "←"]


def test_logits_that_are_not_finite_are_told_as_such():
    model = tiny_model("llama")
    with torch.no_grad():
        model.lm_head.weight[7] = float("inf")
    with bauklens.serve(model, tiny_tokenizer()) as live:
        for count in (0, 3):
            name, text = Client(live).events("/look", {"prompt": TEXT, "new_tokens": count})[-1]
            assert name == "failed"
            assert "contain NaN or infinity" in text


@pytest.mark.parametrize(("text", "end"), [("a city is", 223), ("the tower in the sea", 299)])
def test_a_beam_search_that_gives_up_tokens_gives_up_their_columns(text, end, monkeypatch):
    monkeypatch.setattr(growing, "SHARE", float("inf"))
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    beams = {"num_beams": 4, "length_penalty": -2.0, "eos_token_id": end}  # the best text is not the last one
    model.generation_config.update(**beams)
    written, prompt, generated, changes = told(tokenizer), [], [], 0
    columns, coming, seen, lengths = {}, [], [], []

    def tell(name, value):
        nonlocal prompt, generated, coming, changes
        event = written(name, value)
        if name == "prompt":
            prompt = value
        elif name == "generated":
            changes += event[1]["kept"] < len(generated)
            lengths.append(len(value))
            assert {position for _, position in columns} == set(range(len(prompt) + len(generated)))
            generated, kept = value, len(prompt) + event[1]["kept"]
            for place in [each for each in columns if each[1] >= kept]:
                del columns[place]
        elif name == "table":
            coming = event[1]["positions"]
            assert event[1]["tokens"] == heads(tokenizer, [*prompt, *generated])[coming[0] : coming[-1] + 1]
        elif name == "cells":
            columns.update({(row, coming[column]): token for row, column, token, _ in event[1]})
        seen.append(([*prompt, *generated], dict(columns)))

    job = Job("", lambda _: None, tell, 60)
    with watched(job):
        found = Looking.at(model, tokenizer, []).look(Asked.of({"prompt": text, "new_tokens": 8}), job).clean
    assert changes
    assert lengths[-1] < lengths[-2] == 8
    assert [*prompt, *generated] == found.token_ids.tolist()
    assert len(columns) == found.top_ids[..., 0].size
    lenses = {tuple(ids): bauklens.logit_lens(model, tokenizer, ids, track=0) for ids, _ in seen if ids}
    for ids, shown in seen:
        for place, token in shown.items():
            lens = lenses[tuple(ids)]
            assert token == visible(lens.vocabulary[int(lens.top_ids[place][0])])
