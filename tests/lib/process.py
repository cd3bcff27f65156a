"""Child processes that end with the test run, whatever happens to it."""
import ctypes
import os
import signal
import socket
import subprocess

from .waiting import wait_until

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def free_port(host="127.0.0.1"):
    """A port that the kernel just gave and nobody listens on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


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

    def wait_ready(self, is_ready, what, timeout_s=20.0):
        def ready_or_dead():
            if not self.is_running():
                raise AssertionError("%s ended with status %s before %s:\n%s" % (
                    self.command[0], self.child.returncode, what, self.log()[-4000:]))
            return is_ready()
        wait_until(ready_or_dead, "%s %s" % (self.command[0], what), timeout_s)

    def send_signal(self, number):
        if self.is_running():
            os.kill(self.pid, number)

    def wait(self, timeout_s=20.0):
        """The exit status: negative is the number of the signal."""
        try:
            return self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s does not end:\n%s" % (self.command[0], self.log()[-4000:]))

    def stop(self, number=signal.SIGTERM, timeout_s=20.0):
        self.send_signal(number)
        try:
            return self.wait(timeout_s)
        finally:
            if self.is_running():
                self.child.kill()
                self.child.wait()
