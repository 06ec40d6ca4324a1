"""Addresses: what a URL holds, servers that answer nonsense, streams that fall silent."""

import http.server
import socket
import threading

import cv2
import numpy as np
import pytest
from clips import clip

import casc_det.yolo.stream
from casc_det.errors import SourceError
from casc_det.yolo.sources import Source


@pytest.fixture
def server(tmp_path):
    """A server on the loopback that gives the files of `tmp_path`; its address."""
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: quiet(*a, directory=str(tmp_path))) as it:
        threading.Thread(target=it.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{it.server_port}"
        it.shutdown()


def test_video_and_image_of_a_url(tmp_path, server):
    clip(tmp_path / "a.avi", frames=5)
    cv2.imwrite(str(tmp_path / "b.png"), np.full((8, 9, 3), 7, np.uint8))
    frames = list(Source([f"{server}/a.avi", f"{server}/b.png"]))
    assert sorted(f.frame or 0 for f in frames) == [0, 1, 2, 3, 4, 5]
    (image,) = [f for f in frames if f.frame is None]
    assert image.image.shape == (8, 9, 3) and image.image.max() == 7 and image.path.endswith("b.png")
    with pytest.raises(SourceError, match="none.png' cannot be opened"):
        list(Source(f"{server}/none.png"))


@pytest.mark.parametrize(
    "reply",
    [
        b"no HTTP at all\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: image/" + b"x" * 300 + b"\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Type: image/p\0g\r\n\r\nx",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    ],
)
def test_server_that_answers_nonsense_ends_nothing(reply):
    def answer():
        with server.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.png"
        source = Source([address, np.zeros((4, 5, 3), np.uint8)])
        assert [frame.image.shape for frame in source] == [(4, 5, 3)]
    assert [path for path, _ in source.skipped] == [address] and len(source.skipped[0][1]) < 300


@pytest.mark.parametrize("address", ["http://[::1", "http://a b/c.png", "http://127.0.0.1:x/a.png", "http:///a.png"])
def test_address_that_is_none_is_refused(address):
    with pytest.raises(SourceError, match="cannot be opened"):
        list(Source(address))


def test_stream_that_falls_silent_ends_with_what_came(tmp_path, monkeypatch):
    monkeypatch.setattr(casc_det.yolo.stream, "TIMEOUT", 0.3)
    jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    release = threading.Event()

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
            release.wait(20)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as it:
        threading.Thread(target=it.serve_forever, daemon=True).start()
        source = Source(f"http://127.0.0.1:{it.server_port}/camera")
        frames = list(source)
        release.set()
        it.shutdown()
    assert frames and frames[0].image.shape == (48, 64, 3) and source.incomplete == 1
    assert source.skipped[0][1].startswith("stopped after ")


def test_stream_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(casc_det.yolo.stream, "TIMEOUT", 0.3)
    monkeypatch.setattr("casc_det.yolo.address.TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for url in (
            f"http://127.0.0.1:{port}/a.jpg",
            f"http://127.0.0.1:{port}/a.mp4",
            f"rtsp://127.0.0.1:{port}/live",
        ):
            with pytest.raises(SourceError, match=f"'{url}' (cannot be opened|has no)"):
                list(Source(url))
