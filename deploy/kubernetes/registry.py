"""A registry that accepts tokens of the simulated AWS: python3 registry.py PORT AWS REGISTRY LOG. It asks AWS about each token, and takes the
images from a registry that asks for none. LOG has a line for each request: its status, path and user.
"""

import base64
import http.server
import sys
import urllib.error
import urllib.request

PORT, AWS, REGISTRY, LOG = sys.argv[1:]


def ask(url, headers, method="GET"):
    """Returns status, headers and body."""
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        proof = self.headers.get("authorization", "")
        status, headers, body = self.refusal(proof)
        if not status:
            accept = ", ".join(self.headers.get_all("accept") or ["*/*"])
            status, headers, body = ask(REGISTRY + self.path, {"accept": accept}, self.command)
        self.record(status, proof)
        self.send_response(status)
        for name in ("content-type", "docker-content-digest", "www-authenticate"):
            if headers.get(name):
                self.send_header(name, headers[name])
        self.send_header("content-length", headers.get("content-length") if self.command == "HEAD" and headers.get("content-length") else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def refusal(self, proof):
        """Returns AWS's refusal of this token for this repository, or a status of 0."""
        if not proof.startswith("Basic "):
            return 401, {"www-authenticate": 'Basic realm="ecr"'}, b""
        name = self.path.removeprefix("/v2/").split("/manifests/")[0].split("/blobs/")[0]
        path = f"/v2/{name}/manifests/any" if name else "/v2/"
        status, headers, body = ask(AWS + path, {"authorization": proof, "host": self.headers["host"]})
        # It accepts the token, and has no such image: 404.
        return (0, {}, b"") if status in (200, 404) else (status, headers, body)

    def record(self, status, proof):
        user = base64.b64decode(proof[6:]).decode().split(":")[0] if proof.startswith("Basic ") else "-"
        with open(LOG, "a", encoding="utf-8") as log:
            log.write(f"{status} {self.path} {user}\n")

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(PORT)), Registry).serve_forever()
