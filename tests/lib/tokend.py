#!/usr/bin/python3
"""A token service as the distribution project specifies it: GET and OAuth2 POST, RS256 signed by openssl.

    tokend.py PORT KEY CERTIFICATE ISSUER USER PASSWORD

Anonymous clients may pull from library/*; the user may do everything. One line per token goes to standard output.
"""
import base64
import json
import subprocess
import sys
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIFE_S = 300


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Signer:
    def __init__(self, key, certificate, issuer):
        self.key = key
        self.issuer = issuer
        with open(certificate) as pem:
            self.chain = ["".join(line for line in pem.read().split("\n") if "-----" not in line)]

    def sign(self, subject, service, access):
        now = int(time.time())
        header = {"typ": "JWT", "alg": "RS256", "x5c": self.chain}
        claims = {"iss": self.issuer, "sub": subject, "aud": service, "iat": now, "nbf": now - 5,
                  "exp": now + LIFE_S, "jti": uuid.uuid4().hex, "access": access}
        text = b".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text,
                                   stdout=subprocess.PIPE, check=True).stdout
        return (text + b"." + base64url(signature)).decode()


def granted(scopes, is_known):
    """What of the asked scopes a user, or an anonymous client, gets."""
    access = []
    for scope in " ".join(scopes).split():
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        allowed = [action for action in actions.split(",")
                   if is_known or (action == "pull" and name.startswith("library/"))]
        access.append({"type": kind, "name": name, "actions": allowed})
    return access


def handler(signer, user, password):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body):
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="tokens"')
            self.end_headers()
            self.wfile.write(data)

        def give(self, name, query):
            scopes = query.get("scope", [])
            token = signer.sign(name, query.get("service", [""])[0], granted(scopes, name != ""))
            print("token for %r %r" % (name, scopes), flush=True)
            self.answer(200, {"token": token, "access_token": token, "expires_in": LIFE_S,
                              "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                              "refresh_token": "refresh-" + name})

        def do_GET(self):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            scheme, _, value = self.headers.get("Authorization", "").partition(" ")
            if not scheme:
                return self.give("", query)
            if scheme == "Basic" and base64.b64decode(value).decode() == "%s:%s" % (user, password):
                return self.give(user, query)
            return self.answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})

        def do_POST(self):
            query = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            first = {name: values[0] for name, values in query.items()}
            by_password = first.get("grant_type") == "password" and (
                first.get("username"), first.get("password")) == (user, password)
            by_refresh = first.get("grant_type") == "refresh_token" and (
                first.get("refresh_token") == "refresh-" + user)
            if by_password or by_refresh:
                return self.give(user, query)
            return self.answer(401, {"error": "invalid_grant"})

    return Handler


def main():
    port, key, certificate, issuer, user, password = sys.argv[1:7]
    made = handler(Signer(key, certificate, issuer), user, password)
    ThreadingHTTPServer(("127.0.0.1", int(port)), made).serve_forever()


if __name__ == "__main__":
    main()
