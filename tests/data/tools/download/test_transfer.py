"""Fetching over HTTP from a local server that misbehaves in every way that real ones do."""

import hashlib
import http.server
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from marnet.data.tools.download import transfer
from marnet.data.tools.download.transfer import Remote, fetch, has_checksum
from marnet.errors import DataError

CONTENT = bytes(range(256)) * 400
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` under every path; what it does otherwise is set by the test."""

    content = CONTENT
    etag: str | None = '"one"'
    obeys_ranges = True
    tells_length = True
    answers: list[int]  # statuses of the next answers, before it serves
    break_after: list[int]  # bytes after which the next answers break off
    requests: list[dict[str, str]]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.break_after, self.requests = [], [], []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/photos.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(dict(self.headers))
        if server.answers and (status := server.answers.pop(0)) != 200:
            self.send_error(status)
            return
        content, start = server.content, 0
        wanted = self.headers.get("Range")
        fresh = self.headers.get("If-Range") in (None, server.etag)
        if wanted and server.obeys_ranges and fresh:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.tells_length:
            self.send_header("Content-Length", str(len(content) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        stop = start + server.break_after.pop(0) if server.break_after else None
        self.wfile.write(content[start:stop])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def ranges(server: Server) -> list[str | None]:
    return [each.get("Range") for each in server.requests]


@pytest.mark.parametrize("checksum", ["", MD5, SHA256])
@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_is_fetched(server: Server, tmp_path: Path, checksum: str, tells_length: bool) -> None:
    server.tells_length = tells_length
    fetch(Remote(server.url, checksum), tmp_path / "new" / "photos.zip")
    assert (tmp_path / "new" / "photos.zip").read_bytes() == CONTENT
    assert left(tmp_path / "new") == ["photos.zip"]


@pytest.mark.parametrize("checksum", ["", MD5])
def test_a_broken_connection_is_resumed(server: Server, tmp_path: Path, checksum: str) -> None:
    server.break_after = [1000, 5000]
    fetch(Remote(server.url, checksum), tmp_path / "photos.zip", pause=0)
    assert (tmp_path / "photos.zip").read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=1000-", "bytes=6000-"]
    assert [each.get("If-Range") for each in server.requests] == [None, '"one"', '"one"']


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server: Server, tmp_path: Path) -> None:
    server.break_after = [1000, 0]
    with pytest.raises(
        DataError,
        match=r"photos.zip cannot be fetched: the connection broke off. The 1,000 bytes so far are kept: run the "
        r"command "
        r"again to go on. By hand: ...",
    ):
        fetch(Remote(server.url, MD5, "By hand: ..."), tmp_path / "photos.zip", attempts=2, pause=0)
    assert left(tmp_path) == ["photos.zip.part", "photos.zip.part.version"]
    fetch(Remote(server.url, MD5), tmp_path / "photos.zip")
    assert ranges(server)[-1] == "bytes=1000-"
    assert (tmp_path / "photos.zip").read_bytes() == CONTENT
    assert left(tmp_path) == ["photos.zip"]


def test_progress_resets_the_count_of_attempts(server: Server, tmp_path: Path) -> None:
    server.break_after = [10] * 8
    fetch(Remote(server.url, MD5), tmp_path / "photos.zip", attempts=2, pause=0)
    assert len(server.requests) == 9


def test_a_server_that_ignores_ranges_sends_everything_again(server: Server, tmp_path: Path) -> None:
    server.obeys_ranges = False
    server.break_after = [1000]
    fetch(Remote(server.url, MD5), tmp_path / "photos.zip", pause=0)
    assert ranges(server) == [None, "bytes=1000-"]
    assert (tmp_path / "photos.zip").read_bytes() == CONTENT


def test_two_releases_are_not_mixed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "photos.zip.part").write_bytes(b"x" * 1000)
    (tmp_path / "photos.zip.part.version").write_text('"zero"')
    fetch(Remote(server.url), tmp_path / "photos.zip")
    assert (tmp_path / "photos.zip").read_bytes() == CONTENT


def test_without_version_and_checksum_nothing_is_resumed(server: Server, tmp_path: Path) -> None:
    server.etag = None
    server.break_after = [1000]
    fetch(Remote(server.url), tmp_path / "photos.zip", pause=0)
    assert ranges(server) == [None, None]
    assert (tmp_path / "photos.zip").read_bytes() == CONTENT


def test_a_weak_version_is_none(server: Server, tmp_path: Path) -> None:
    server.etag = 'W/"one"'
    server.break_after = [1000]
    fetch(Remote(server.url), tmp_path / "photos.zip", pause=0)
    assert ranges(server) == [None, None]


def test_a_part_that_is_whole_needs_no_byte_more(server: Server, tmp_path: Path) -> None:
    (tmp_path / "photos.zip.part").write_bytes(CONTENT)
    fetch(Remote(server.url, SHA256), tmp_path / "photos.zip")
    assert ranges(server) == [f"bytes={len(CONTENT)}-"]
    assert (tmp_path / "photos.zip").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "photos.zip.part").write_bytes(CONTENT + b"more")
    fetch(Remote(server.url, SHA256), tmp_path / "photos.zip", pause=0)
    assert (tmp_path / "photos.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("answer", [404, 403, 410])
def test_a_refusal_is_said_at_once(server: Server, tmp_path: Path, answer: int) -> None:
    server.answers = [answer]
    with pytest.raises(DataError, match=rf"{server.url} cannot be fetched: the server answered {answer} \w+.* By hand"):
        fetch(Remote(server.url, MD5, "By hand: put it there."), tmp_path / "photos.zip")
    assert len(server.requests) == 1
    assert left(tmp_path) == []


def test_a_passing_fault_is_tried_again(server: Server, tmp_path: Path) -> None:
    server.answers = [503, 429, 200]
    fetch(Remote(server.url, MD5), tmp_path / "photos.zip", pause=0)
    assert (tmp_path / "photos.zip").read_bytes() == CONTENT
    server.answers = [503] * 3
    with pytest.raises(DataError, match="the server answered 503 Service Unavailable"):
        fetch(Remote(server.url, MD5), tmp_path / "photos.zip", attempts=3, pause=0)


def test_another_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    found = hashlib.md5(server.content).hexdigest()
    sentence = (
        f"{server.url} gave a file of 102,400 bytes with the checksum md5:{found} instead of {MD5}. It was removed. "
        f"Run the "
        f"command again; if that does not help, the file was changed at its source. By hand: ..."
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        fetch(Remote(server.url, MD5, "By hand: ..."), tmp_path / "photos.zip")
    assert left(tmp_path) == []


def test_without_network_the_way_by_hand_is_named(tmp_path: Path) -> None:
    with Server() as closed:
        url = closed.url
    sentence = f"{url} cannot be fetched: Connection refused. Is this machine connected to the internet? By hand: x."
    with pytest.raises(DataError, match=re.escape(sentence)):
        fetch(Remote(url, MD5, "By hand: x."), tmp_path / "photos.zip")


def test_a_full_disk_is_noticed_before_writing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = transfer.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage)
    sentence = (
        "photos.zip cannot be written: 102,400 bytes are needed and 10 are free. Free some space, or give a folder"
    )
    with pytest.raises(DataError, match=re.escape(sentence)):
        fetch(Remote(server.url, MD5), tmp_path / "photos.zip")
    assert not (tmp_path / "photos.zip").exists()


def test_a_folder_that_is_a_file_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file.photos.zip cannot be written: (Not a directory|File exists)"):
        fetch(Remote(server.url, MD5), tmp_path / "file" / "photos.zip")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(server: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=r"photos.zip cannot be written: Permission denied. Free some space, or give"):
        fetch(Remote(server.url, MD5), tmp_path / "photos.zip")


def test_checksums_are_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert has_checksum(tmp_path / "a", "md5:900150983CD24FB0D6963F7D28E17F72")
    assert not has_checksum(tmp_path / "a", MD5)
