"""A receiver in Python's standard library: verifies each webhook, and ignores repetitions.

    PYTHONPATH=src/page/verify WEBHOOK_SECRET=whsec_... python3 examples/receiver.py

verify.py is in src/page/verify/: copy it beside this file.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from verify import verify_webhook

SECRET = os.environ["WEBHOOK_SECRET"]
MAX_BODY = 1_000_000
PROCESSED = Path(os.environ.get("PROCESSED", "processed"))


def process(event: dict) -> None:
    """Your work. It may take long: then store the event here, and do the work elsewhere."""
    print(event["event"], event["data"], flush=True)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        if length > MAX_BODY:
            return self.answer(413, "the body is too large")
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            event = verify_webhook(SECRET, headers, body)
        except ValueError as problem:
            return self.answer(401, str(problem))
        # A webhook can come again. With a database, insert its id into a table with a unique key, in
        # the transaction that does the work.
        mark = PROCESSED / event["webhook_id"]
        if not mark.exists():
            process(event)
            mark.touch()
        self.answer(204)

    def answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_) -> None:
        pass


PROCESSED.mkdir(exist_ok=True)
ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver).serve_forever()
