"""A client of the live page's server: what a browser sends, sent by hand."""

import http.client
import json
from urllib.parse import urlsplit


class Client:
    """Asks a server as its page does; ``headers`` are sent instead of the page's own."""

    def __init__(self, live, **headers):
        address = urlsplit(live.url)
        self.host, self.port = address.hostname, address.port
        token = address.fragment.partition("token=")[2]
        self.headers = {"Authorization": f"Bearer {token}", **headers}

    def send(self, method, path, data=None, body=None, **headers):
        """The connection, and the answer to a request whose body has not been read yet."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        given = json.dumps(data) if data is not None else body
        connection.request(method, path, given, {**self.headers, **headers})
        return connection, connection.getresponse()

    def ask(self, path, data=None, **options):
        """(status, text)"""
        connection, found = self.send(
            "GET" if data is None and "body" not in options else "POST", path, data, **options
        )
        text = found.read().decode()
        connection.close()
        return found.status, text

    def json(self, path, data=None):
        status, text = self.ask(path, data)
        assert status == 200, text
        return json.loads(text)

    def events(self, path, data):
        """Every event of an answer, in order: (name, value)."""
        status, text = self.ask(path, data)
        assert status == 200, text
        return events_in(text)


def events_in(text):
    found = []
    for part in filter(None, text.split("\n\n")):
        name, value = part.split("\n", 1)
        found.append((name.removeprefix("event: "), json.loads(value.removeprefix("data: "))))
    return found


def first(events, name):
    """The value of the first event of that name."""
    return next(value for called, value in events if called == name)
