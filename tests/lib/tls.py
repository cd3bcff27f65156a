"""Certificates that nobody but a test trusts."""
import os
import ssl
import subprocess


def make_certificate(folder, name):
    """Of a server at 127.0.0.1, signed by itself; its key lies beside it."""
    key, certificate = (os.path.join(str(folder), name + end) for end in (".key", ".crt"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                    "-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    return certificate


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate[:-len(".crt")] + ".key")
    return context
