"""A shared store on S3: one request for a result, servers that answer 503, credentials, a missing package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tasks.remote_files
from tasks.remote_files import RemoteError, RemoteFiles
from tasks.shared_store import use_shared_store
from tasks.store_exchange import Remote
from tests.servers.s3 import KEY_ID, SECRET_KEY, S3Server
from tests.tasks.sharing import Machine, compute, job, letters


def test_a_result_is_found_with_one_request_and_no_listing(machine: Machine, s3_server: S3Server) -> None:
    url = f"s3://{s3_server.new_bucket()}/agentevol"
    machine("one", url)
    for letter in "abc":
        compute(letters([]), letter=letter)
    machine("two", url)
    s3_server.requests.clear()
    assert compute(letters([]), letter="b").folder.exists()
    assert [request.split("/")[-1][:12] for request in s3_server.requests] == [f"{letters([]).key({'letter': 'b'})}.json"[:12], "text"]
    s3_server.requests.clear()
    assert not letters([]).is_cached(letter="d")
    assert len(s3_server.requests) == 1
    assert not [request for request in s3_server.requests if "list-type" in request]


def test_a_store_that_is_overloaded_for_a_moment_only_delays(machine: Machine, s3_server: S3Server) -> None:
    url, failed = f"s3://{s3_server.new_bucket()}/agentevol", set[str]()

    def first_time(request: str) -> bool:
        return request not in failed and not failed.add(request)  # type: ignore[func-returns-value]

    machine("one", url)
    s3_server.fails = first_time
    result = job([])
    machine("two", url)
    failed.clear()
    assert job([]) == result
    assert len(failed) > 5


def test_a_store_that_stays_overloaded_ends_the_run_in_one_line_and_loses_nothing(machine: Machine, s3_server: S3Server) -> None:
    machine("one", f"s3://{s3_server.new_bucket()}/agentevol")
    ran: list[str] = []
    s3_server.fails = lambda request: request.startswith("PUT")
    with pytest.raises(
        RemoteError, match=r"could not write store/letters-\S+: Please reduce your request rate. \(7 tries in \d+ s"
    ) as caught:
        compute(letters(ran), letter="a")
    assert "\n" not in str(caught.value)
    assert len([request for request in s3_server.requests if "part/text" in request]) == tasks.remote_files.TRIES
    s3_server.fails = lambda request: False
    compute(letters(ran), letter="a")
    assert ran == ["a"]


def test_a_bucket_that_does_not_exist_is_reported_before_anything_is_computed(machine: Machine, s3_server: S3Server) -> None:
    with pytest.raises(RemoteError, match=r"^s3://nosuch/x: could not write agentevol-store: The specified bucket does not exist"):
        machine("one", "s3://nosuch/x")


def test_credentials_appear_nowhere(machine: Machine, s3_server: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"s3://{s3_server.new_bucket()}/agentevol"
    messages = []
    machine("one", url)
    job([])
    s3_server.fails = lambda request: True
    machine("two", "")
    for work in (lambda: use_shared_store(url), lambda: Remote(url).publish(tmp_path), lambda: Remote(url).read_index()):
        with pytest.raises(RemoteError) as caught:
            work()
        messages.append(str(caught.value))
    s3_server.fails = lambda request: False
    files = RemoteFiles(url)
    written = [content.decode() for content in files.read_all([file.path for file in files.find("")]).values()]
    written += [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
    written += [*messages, *capsys.readouterr()]
    assert len(written) > 10
    for secret in (KEY_ID, SECRET_KEY):
        assert not [text for text in written if secret in text]


def test_a_missing_extra_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # the attribute of that name is another object
    with pytest.raises(RemoteError, match=r"^s3://bucket/x: .*pip install 'agentevol\[s3\]'$"):
        Remote("s3://bucket/x")
