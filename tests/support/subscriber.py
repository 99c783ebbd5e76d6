"""An HTTP subscriber in a thread: confirms its subscriptions, keeps every message, lets tests wait for them."""

import http.server
import json
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

WAIT_S_MAX = 90


class Subscriber:
    """Listens on an ephemeral port of 127.0.0.1."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.envelopes: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        subscriber = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                envelope = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                subscriber._take(envelope)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Subscriber":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def subscribe(self, sns: Any, topic_arn: str) -> None:
        """Subscribe and wait until the confirmation has been answered."""
        before = len(self.envelopes)
        sns.subscribe(TopicArn=topic_arn, Protocol="http", Endpoint=self.url)
        self.wait(lambda: any(e["Type"] == "SubscriptionConfirmation" for e in self.envelopes[before:]), "the confirmation")

    def results(self, status: str) -> dict[str, list[dict[str, Any]]]:
        """Result messages of this invocationStatus by object location."""
        found: dict[str, list[dict[str, Any]]] = {}
        for message in list(self.messages):
            if message.get("invocationStatus") == status:
                place = message["responseParameters"]
                found.setdefault(place.get("outputLocation") or place.get("failureLocation"), []).append(message)
        return found

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds; it is looked at whenever something arrives."""
        with self._changed:
            assert self._changed.wait_for(condition, WAIT_S_MAX), f"waited in vain for {what}"

    def _take(self, envelope: dict[str, Any]) -> None:
        if envelope["Type"] == "SubscriptionConfirmation":
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(envelope["SubscribeURL"], timeout=30).read()
        with self._changed:
            self.envelopes.append(envelope)
            if envelope["Type"] == "Notification":
                self.messages.append(json.loads(envelope["Message"]))
            self._changed.notify_all()
