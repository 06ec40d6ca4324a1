"""Importing this forbids the network to this process and to the Python processes that it starts.

Each attempt is noted in the file `$NO_NETWORK_LOG`, as some are swallowed.
"""

import os
import socket
import sys
import tempfile
from pathlib import Path

HERE = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", socket.gethostname()}
FETCHING = {"curl", "wget", "pip", "pip3", "ping"}  # programs


def _goes_out(event: str, args: tuple) -> bool:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        return args[0].family in (socket.AF_INET, socket.AF_INET6) and bool(address) and address[0] not in HERE
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0].decode() if isinstance(args[0], bytes) else args[0]
        return host is not None and host not in HERE
    return event == "subprocess.Popen" and os.path.basename(str(args[0])) in FETCHING


def _hook(event: str, args: tuple) -> None:
    if event.startswith(("socket.", "subprocess.")) and _goes_out(event, args):
        with open(os.environ["NO_NETWORK_LOG"], "a") as log:
            log.write(f"{event} {args[:2]}\n")
        raise RuntimeError(f"the network is forbidden in tests: {event} {args[:2]}")


if "NO_NETWORK_LOG" not in os.environ:
    os.environ["NO_NETWORK_LOG"] = str(Path(tempfile.mkdtemp(prefix="casc_det_tests_")) / "attempts")
    paths = (str(Path(__file__).with_name("offline")), os.environ.get("PYTHONPATH"))  # has a sitecustomize.py
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
sys.addaudithook(_hook)
