"""Child processes that end with the test run, whatever happens to it."""
import ctypes
import os
import signal
import socket
import subprocess

from .waiting import PATIENCE_S, wait_until

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


# Sockets that are bound and do not listen: each keeps its port for the test that got it.
held_ports = []


def free_port(host="127.0.0.1"):
    """A port on which nobody listens. Until the end of the test the kernel gives it to nobody who asks for any port, also
    while the test's own server is away; servers that name it get it, as they set SO_REUSEADDR."""
    holder = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, 0))
    except OSError:
        holder.close()
        raise
    held_ports.append(holder)
    return holder.getsockname()[1]


def release_ports():
    while held_ports:
        held_ports.pop().close()


def can_connect(address):
    family = socket.AF_UNIX if isinstance(address, str) else (
        socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    with socket.socket(family) as probe:
        probe.settimeout(1)
        try:
            probe.connect(address)
        except OSError:
            return False
        return True


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One child: its output goes to a file, and it is ended by its own pid."""

    def __init__(self, command, log, env=None, cwd=None):
        self.command = [str(word) for word in command]
        self.log_path = str(log)
        with open(self.log_path, "ab") as output:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd,
                preexec_fn=die_with_parent)
        self.pid = self.child.pid

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def is_running(self):
        return self.child.poll() is None

    def wait_ready(self, is_ready, what, timeout_s=PATIENCE_S):
        def ready_or_dead():
            if not self.is_running():
                raise AssertionError("%s ended with status %s before %s:\n%s" % (
                    self.command[0], self.child.returncode, what, self.log()[-4000:]))
            return is_ready()
        wait_until(ready_or_dead, "%s %s" % (self.command[0], what), timeout_s)

    def send_signal(self, number):
        if self.is_running():
            os.kill(self.pid, number)

    def wait(self, timeout_s=PATIENCE_S):
        """The exit status: negative is the number of the signal."""
        try:
            return self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s does not end:\n%s" % (self.command[0], self.log()[-4000:]))

    def stop(self, number=signal.SIGTERM, timeout_s=PATIENCE_S):
        self.send_signal(number)
        try:
            return self.wait(timeout_s)
        finally:
            if self.is_running():
                self.child.kill()
                self.child.wait()
