"""Code from HTTP and S3 in whole runs of the host: every form, pins, what is no code, the record, the cache."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from hostile_archives import gzip_of, link, member, tar, zstd_of
from http_server import File, HttpServer, redirect, status
from running_job import Finished
from s3_server import Fault, S3Server

from nuwrap_runtime.launch import ARCHIVES

CODE = b"import main\ndef f(): return main.VALUE\n"
SEVEN = b"import sys\ndef f(): return [7, __name__]\n"
PACKAGE = {"main.py": b"from pkg.mod import f\n", "pkg/__init__.py": b"", "pkg/mod.py": b"def f(): return 'packed'\n"}
SECRET_PAGE = b"<!DOCTYPE html><html><title>Sign in</title>"

VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"

VALUE = "a-secret-value"

RunJob = Callable[..., Finished]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def zip_of(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def tar_of(files: Mapping[str, bytes]) -> bytes:
    return tar(*[member(name, content) for name, content in files.items()])


FORMS: Mapping[str, Callable[[Mapping[str, bytes]], bytes]] = {
    ".zip": zip_of,
    ".tar": tar_of,
    ".tar.gz": lambda files: gzip_of(tar_of(files)),
    ".tar.zst": lambda files: zstd_of(tar_of(files)),
}


def asked(web: HttpServer, path: str = "") -> int:
    """Return how often the path was asked for."""
    return len([one for one in web.seen if one.path.startswith(path)])


class TestHttp:
    @pytest.mark.parametrize(
        ("path", "module"),
        [
            ("/fn.py", "fn"),
            ("/a/my-fn.py", "my-fn"),
            ("/01_clean.py", "01_clean"),
            ("/f%20n.py", "f n"),
            ("/größe.py", "größe"),
            ("/raw/0123abcdef", "main"),
            ("/", "main"),
            ("/fn.py?raw=1", "fn"),
            ("/download?file=x.zip", "main"),
        ],
    )
    def test_module_is_the_files_stem(self, run_job: RunJob, web: HttpServer, path: str, module: str) -> None:
        web.on(path.replace("größe", "gr%C3%B6%C3%9Fe"), File(SEVEN))
        done = run_job(code_src=web.url + path)
        assert (done.code, done.value) == (0, [7, module]), done.stderr
        assert done.result["source"]["revision"] == f"sha256:{sha256(SEVEN)}"

    def test_handler_may_name_the_module(self, run_job: RunJob, web: HttpServer) -> None:
        assert run_job(code_src=web.on("/fn.py", File(SEVEN)), handler="fn:f").value == [7, "fn"]

    @pytest.mark.parametrize("scheme", ["", "zip+", "ZIP+"])
    @pytest.mark.parametrize("suffix", [*FORMS, ""])
    def test_archive_is_unpacked(self, run_job: RunJob, web: HttpServer, scheme: str, suffix: str) -> None:
        content = FORMS[suffix or ".zip"](PACKAGE)
        done = run_job(code_src=scheme + web.on(f"/code{suffix}", File(content)))
        assert (done.code, done.value) == (0, "packed"), done.stderr
        assert done.result["source"]["revision"] == f"sha256:{sha256(content)}"

    def test_scheme_in_capitals_is_the_same(self, run_job: RunJob, web: HttpServer) -> None:
        assert run_job(code_src=web.on("/fn.py", File(SEVEN)).replace("http:", "HTTP:")).value == [7, "fn"]

    def test_folder_of_an_archive(self, run_job: RunJob, web: HttpServer) -> None:
        files = {f"repo main/jobs/{name}": content for name, content in PACKAGE.items()}
        place = web.on("/repo.zip", File(zip_of({**files, "repo main/other.py": b""})))
        done = run_job(code_src=f"{place}#subdir=repo%20main/jobs")
        assert (done.code, done.value) == (0, "packed"), done.stderr

    @pytest.mark.parametrize("subdir", ["nope", "..", "a/../..", "a.txt"])
    def test_folder_that_is_not_there_names_those_that_are(self, run_job: RunJob, web: HttpServer, subdir: str) -> None:
        place = web.on("/repo.zip", File(zip_of({"a/main.py": b"", "b/c": b"", "a.txt": b""})))
        done = run_job(code_src=f"{place}#subdir={subdir}")
        assert (done.code, done.failure["phase"]) == (3, "source")
        assert "its folders: a, b" in done.failure["message"]

    def test_link_out_of_the_chosen_folder_is_refused(self, run_job: RunJob, web: HttpServer) -> None:
        content = tar(member("a/main.py", b""), member("b/x.py", b""), link("a/x.py", "../b/x.py"))
        done = run_job(code_src=web.on("/repo.tar", File(content)) + "#subdir=a")
        assert (done.code, "the link 'x.py' leads to '../b/x.py'" in done.failure["message"]) == (3, True), done

    def test_local_archive(self, run_job: RunJob, tmp_path: Path) -> None:
        content = zip_of(PACKAGE)
        (tmp_path / "code.zip").write_bytes(content)
        done = run_job(code_src=str(tmp_path / "code.zip"), sha256=sha256(content))
        assert (done.value, done.result["source"]["revision"]) == ("packed", f"sha256:{sha256(content)}")
        assert set(FORMS) <= set(ARCHIVES)

    def test_key_of_an_entity(self, run_job: RunJob, web: HttpServer) -> None:
        key = "store://p/artifact/code/fn:1"
        place = web.on("/fn.py", File(SEVEN))
        done = run_job(code_src=key, entities={key: {"kind": "code", "path": f"{place}#sha256={sha256(SEVEN)}"}})
        assert (done.value, done.result["source"]["code_src"]) == ([7, "fn"], key)

    def test_redirects_and_broken_answers_are_gone_through(self, run_job: RunJob, web: HttpServer) -> None:
        web.on("/fn.py", status(503), File(SEVEN, etag='"1"', cut=10), File(SEVEN, etag='"1"'))
        assert run_job(code_src=web.url + "/fn.py").value == [7, "fn"]


class TestPins:
    def test_right_one_by_key_or_behind_the_address_or_both(self, run_job: RunJob, web: HttpServer) -> None:
        place, digest = web.on("/fn.py", File(SEVEN)), sha256(SEVEN)
        assert run_job(code_src=place, sha256=digest).code == 0
        assert run_job(code_src=f"{place}#sha256={digest}").code == 0
        assert run_job(code_src=f"{place}#sha256={digest}", sha256=digest).code == 0

    @pytest.mark.parametrize("by", ["key", "pin"])
    def test_wrong_one_is_told_with_the_one_found(self, run_job: RunJob, web: HttpServer, by: str) -> None:
        place, wrong = web.on("/code.zip", File(zip_of(PACKAGE))), "0" * 64
        given = {"code_src": place, "sha256": wrong} if by == "key" else {"code_src": f"{place}#sha256={wrong}"}
        done = run_job(**given)
        assert (done.code, done.failure["phase"]) == (3, "source")
        assert sha256(zip_of(PACKAGE)) in done.failure["message"]
        assert wrong in done.failure["message"]

    def test_two_different_ones_are_refused_before_anything_is_asked(self, run_job: RunJob, web: HttpServer) -> None:
        place = web.on("/fn.py", File(SEVEN))
        done = run_job(code_src=f"{place}#sha256={sha256(SEVEN)}", sha256="0" * 64)
        assert (done.code, "given twice" in done.failure["message"], web.seen) == (3, True, [])

    @pytest.mark.parametrize(
        ("behind", "words"),
        [
            ("v1", "'#v1' is not understood; allowed: #sha256=…&subdir=…"),
            ("sha265=" + "0" * 64, "did you mean 'sha256'?"),
            ("sha256=abc", "64 hex digits"),
            ("subdir=a", "subdir is for archives"),
        ],
    )
    def test_what_is_no_pin_is_refused(self, run_job: RunJob, web: HttpServer, behind: str, words: str) -> None:
        done = run_job(code_src=web.on("/fn.py", File(SEVEN)) + "#" + behind)
        assert (done.code, words in done.failure["message"]) == (3, True), done.failure


class TestNoCode:
    @pytest.mark.parametrize(
        ("path", "answer", "words"),
        [
            ("/fn.py", File(SECRET_PAGE, content_type="text/html"), "HTML page; is a login"),
            ("/fn.py", File(b"\n <html>", content_type="text/plain"), "HTML page"),
            ("/fn", File(b"Please sign in", content_type="text/html; charset=utf-8"), "HTML page"),
            ("/code.zip", File(SECRET_PAGE, content_type="text/html"), "no archive: the server answered with an HTML"),
            ("/fn.py", File(b"\x7fELF\x02\x01\x01\0\0\0"), "no Python code: it is a binary file"),
            ("/code.tar.gz", File(gzip_of(b"one file alone")), "it is no archive"),
            ("/fn.js", File(b"x"), "'fn.js' is neither a .py file nor an archive"),
            ("/fn.v2.py", File(SEVEN), "'fn.v2.py' cannot be a module"),
            ("/f%5Cn.py", File(SEVEN), "backslash"),
            ("/fn.py", status(404), "404"),
            ("/fn.py", status(403), "403"),
        ],
    )
    def test_message_says_what_came_instead(
        self, run_job: RunJob, web: HttpServer, path: str, answer: Any, words: str
    ) -> None:
        done = run_job(code_src=web.on(path, answer))
        assert (done.code, done.failure["phase"]) == (3, "source"), done.stderr
        assert words in done.failure["message"], done.failure
        assert repr(web.url + path) in done.failure["message"]

    def test_zip_of_a_plain_file_is_an_error(self, run_job: RunJob, web: HttpServer) -> None:
        done = run_job(code_src="zip+" + web.on("/fn.py", File(SEVEN)))
        assert (
            done.code,
            "it is no archive; allowed: zip, tar, and tar in gzip, bzip2, xz" in done.failure["message"],
        ) == (3, True), done.failure

    def test_code_that_the_server_calls_html_is_code(self, run_job: RunJob, web: HttpServer) -> None:
        assert run_job(code_src=web.on("/fn.py", File(SEVEN, content_type="text/html"))).value == [7, "fn"]

    @pytest.mark.parametrize(
        ("code_src", "near"),
        [("htps://h/f.py", "'https'"), ("zip+ftp://h/f.zip", "'zip+http'"), ("S33://b/f.py", "'s3'")],
    )
    def test_unknown_scheme_names_those_that_are(self, run_job: RunJob, code_src: str, near: str) -> None:
        done = run_job(code_src=code_src)
        assert (done.code, done.failure["phase"]) == (3, "source")
        assert f"did you mean {near}?" in done.failure["message"]
        assert "zip+s3://" in done.failure["message"]

    def test_limit_of_bytes_holds_for_what_is_sent_and_unpacked(self, run_job: RunJob, web: HttpServer) -> None:
        big = web.on("/fn.py", File(SEVEN + b"#" * 5000))
        packed = web.on("/code.zip", File(zip_of({"main.py": b"#" * 5000})))
        for code_src in (big, packed):
            done = run_job(code_src=code_src, limits={"bytes": 2000})
            assert (done.code, "limits.bytes" in done.failure["message"]) == (3, True), done.failure


class TestS3:
    @pytest.fixture
    def run(self, run_job: RunJob, s3: S3Server) -> RunJob:
        return lambda **keys: run_job(**{"env": s3.environ(), **keys})

    @pytest.mark.parametrize("key", ["fn.py", "a/b/fn.py", "notes#1/fn.py", "a b/fn.py"])
    def test_object(self, run: RunJob, s3: S3Server, bucket: str, key: str) -> None:
        s3.make(bucket, {key: SEVEN})
        done = run(code_src=f"s3://{bucket}/{key}#sha256={sha256(SEVEN)}")
        assert (done.code, done.value) == (0, [7, "fn"]), done.stderr
        assert done.result["source"]["revision"] == f"sha256:{sha256(SEVEN)}"

    def test_key_is_taken_literally(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"f%20n.py": SEVEN})
        assert run(code_src=f"S3://{bucket}/f%20n.py").value == [7, "f%20n"]

    @pytest.mark.parametrize("prefix", ["", "jobs/", "jobs"])
    def test_prefix_is_a_folder(self, run: RunJob, s3: S3Server, bucket: str, prefix: str) -> None:
        base = prefix.rstrip("/") and prefix.rstrip("/") + "/"
        left = {"__pycache__/main.pyc": b"\0", ".git/config": b"", "pkg/x.pyc": b"\0"}
        s3.make(bucket, {base + name: content for name, content in {**PACKAGE, **left}.items()})
        code = b"import os\nfrom pkg.mod import f as g\ndef f(): return [g(), sorted(os.listdir())]\n"
        s3.make(bucket, {f"{base}main.py": code})
        done = run(code_src=f"s3://{bucket}/{prefix}")
        assert (done.code, done.value) == (0, ["packed", ["main.py", "pkg"]]), done.stderr
        assert done.result["source"]["revision"].startswith("sha256:")

    def test_revision_of_a_prefix_is_that_of_names_and_contents(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"a/main.py": SEVEN, "b/main.py": SEVEN, "c/main.py": SEVEN + b"\n"})
        found = [run(code_src=f"s3://{bucket}/{name}/").result["source"]["revision"] for name in "abc"]
        assert found[0] == found[1] != found[2]

    @pytest.mark.parametrize("scheme", ["zip+s3", "s3"])
    def test_archive(self, run: RunJob, s3: S3Server, bucket: str, scheme: str) -> None:
        s3.make(bucket, {"code.zip": zip_of({f"r/{name}": content for name, content in PACKAGE.items()})})
        assert run(code_src=f"{scheme}://{bucket}/code.zip#subdir=r").value == "packed"

    def test_key_of_an_entity(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {"fn.py": SEVEN})
        key = "store://p/artifact/code/fn:1"
        assert run(code_src=key, entities={key: {"kind": "code", "path": f"s3://{bucket}/fn.py"}}).value == [7, "fn"]

    @pytest.mark.parametrize(
        ("what", "words"),
        [
            ("s3://{}/p/#sha256=" + "0" * 64, "sha256, subdir and zip+ are for one file"),
            ("zip+s3://{}/p/", "zip+ are for one file"),
            ("s3://{}/nope.py", "in bucket '{}' are 'left/main.pyc', 'p/main.py'"),
            ("s3://{}-x/fn.py", "there is no bucket '{}-x'"),
            ("s3://{}/left/", "none of the 1 files below it is code"),
        ],
    )
    def test_message_says_what_is_wrong(self, run: RunJob, s3: S3Server, bucket: str, what: str, words: str) -> None:
        s3.make(bucket, {"p/main.py": SEVEN, "p/x.py": b"", "left/main.pyc": b""})
        done = run(code_src=what.replace("{}", bucket))
        assert (done.code, words.replace("{}", bucket) in done.failure["message"]) == (3, True), done.failure

    @pytest.mark.parametrize("names", [["a.py", "A.py"], ["a/../../x.py", "main.py"], ["a", "a/b"]])
    def test_names_that_no_folder_can_have_are_refused(
        self, run: RunJob, s3: S3Server, bucket: str, names: list[str]
    ) -> None:
        s3.make(bucket, {f"p/{name}": b"" for name in names})
        done = run(code_src=f"s3://{bucket}/p/")
        assert (done.code, done.failure["phase"]) == (3, "source"), done.failure

    def test_limit_of_files_holds(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        s3.make(bucket, {f"p/{number}.py": b"" for number in range(4)})
        done = run(code_src=f"s3://{bucket}/p/", limits={"files": 3})
        assert (done.code, "limits.files" in done.failure["message"]) == (3, True), done.failure

    def test_account_for_the_source_is_not_seen_by_the_function(self, run: RunJob, s3: S3Server, bucket: str) -> None:
        code = b"import os\ndef f(): return {k: v for k, v in os.environ.items() if 'AWS_' in k and 'KEY' in k}\n"
        s3.make(bucket, {"fn.py": code})
        given = {name: value for name, value in s3.environ().items() if "KEY" not in name}
        own = {"NUWRAP_SOURCE_AWS_ACCESS_KEY_ID": "SOURCE", "NUWRAP_SOURCE_AWS_SECRET_ACCESS_KEY": "source-secret"}
        plain = {"AWS_ACCESS_KEY_ID": "PLAIN", "AWS_SECRET_ACCESS_KEY": "plain-secret"}
        done = run(code_src=f"s3://{bucket}/fn.py", env={**given, **own, **plain})
        assert (done.code, done.value) == (0, {**plain, "AWS_SECRET_ACCESS_KEY": "***"}), done.stderr
        assert {one.headers["authorization"].split("Credential=")[1].split("/")[0] for one in s3.seen} == {"SOURCE"}

    @pytest.mark.parametrize("status_and_code", [(403, "AccessDenied"), (403, "SignatureDoesNotMatch")])
    def test_refusal_says_what_to_do_and_no_secret(
        self, run: RunJob, s3: S3Server, bucket: str, status_and_code: tuple[int, str]
    ) -> None:
        s3.make(bucket, {"fn.py": SEVEN})
        s3.spoil = lambda _request: Fault(*status_and_code)
        done = run(code_src=f"s3://{bucket}/fn.py", env=s3.environ(AWS_SECRET_ACCESS_KEY=VALUE))
        assert (done.code, done.failure["phase"]) == (3, "source")
        assert "AWS_SECRET_ACCESS_KEY" in done.failure["message"]
        assert VALUE not in done.stderr + json.dumps(done.result)


class TestSecrets:
    SIGNED = "X-Amz-Signature=0011223344556677&X-Amz-Security-Token=tokentoken&X-Amz-Date=20260101T000000Z"

    @pytest.mark.parametrize("answer", [File(SEVEN), status(404), status(403), File(SECRET_PAGE), status(500)])
    def test_signed_address_is_in_no_message_and_no_document(
        self, run_job: RunJob, web: HttpServer, tmp_path: Path, answer: Any
    ) -> None:
        done = run_job(
            code_src=web.on("/fn.py", answer) + "?" + self.SIGNED,
            limits={"seconds": 3},
            env={"NUWRAP_CACHE": str(tmp_path / "cache")},
        )
        told = done.stderr + done.stdout + json.dumps(done.result)
        assert web.seen[0].path.endswith(self.SIGNED)
        assert [one for one in ("0011223344556677", "tokentoken") if one in told] == []
        kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*.json")]
        assert [one for one in kept if b"0011223344556677" in one] == []

    def test_password_in_an_address_is_refused_and_not_shown(self, run_job: RunJob, web: HttpServer) -> None:
        place = web.on("/fn.py", File(SEVEN)).replace("http://", "http://somebody:pass-word@")
        done = run_job(code_src=place)
        assert (done.code, web.seen) == (3, [])
        assert "pass-word" not in done.stderr + json.dumps(done.result)


class TestRecord:
    def test_what_fetch_has_put_there_is_what_job_uses(self, run_job: RunJob, web: HttpServer, tmp_path: Path) -> None:
        place = web.on("/fn.py", File(SEVEN))
        env = {"NUWRAP_WORK": str(tmp_path / "work")}
        fetched = run_job(command="fetch", code_src=place, env=env)
        told = json.loads(fetched.stdout)
        assert (fetched.code, told["revision"]) == (0, f"sha256:{sha256(SEVEN)}")
        assert Path(told["root"], "fn.py").read_bytes() == SEVEN
        web.on("/fn.py", status(500))
        done = run_job(code_src=place, env=env)
        assert (done.code, done.value, len(web.seen)) == (0, [7, "fn"], 1)
        assert done.result["source"]["revision"] == f"sha256:{sha256(SEVEN)}"

    def test_record_of_another_source_does_not_count(self, run_job: RunJob, web: HttpServer, tmp_path: Path) -> None:
        env = {"NUWRAP_WORK": str(tmp_path / "work")}
        run_job(command="fetch", code_src=web.on("/fn.py", File(SEVEN)), env=env)
        done = run_job(code_src=web.on("/other.py", File(b"def f(): return 8\n")), env=env)
        assert done.value == 8

    def test_what_failed_leaves_nothing(self, run_job: RunJob, web: HttpServer, tmp_path: Path) -> None:
        env = {"NUWRAP_WORK": str(tmp_path / "work")}
        place = web.on("/code.zip", File(zip_of(PACKAGE)))
        assert run_job(command="fetch", code_src=f"{place}#subdir=nope", env=env).code == 3
        left = sorted(path.name for path in (tmp_path / "work").rglob("*"))
        assert [name for name in left if not name.startswith(".nuwrap-")] == []


class TestCache:
    @pytest.fixture
    def env(self, tmp_path: Path) -> dict[str, str]:
        return {"NUWRAP_CACHE": str(tmp_path / "kept")}

    @pytest.mark.parametrize("suffix", [".py", ".zip"])
    def test_second_start_is_served_no_bytes(
        self, run_job: RunJob, web: HttpServer, env: dict[str, str], suffix: str
    ) -> None:
        content = SEVEN if suffix == ".py" else zip_of(PACKAGE)
        place = web.on(f"/fn{suffix}", File(content, etag='"1"'))
        first = run_job(code_src=place, env=env)
        assert (web.sent, "from the cache" in first.stderr) == (len(content), False)
        second = run_job(code_src=place, env=env)
        assert (web.sent, len(web.seen), "from the cache" in second.stderr) == (len(content), 2, True)
        assert (second.value, second.result["source"]) == (first.value, first.result["source"])

    def test_changed_file_is_fetched(self, run_job: RunJob, web: HttpServer, env: dict[str, str]) -> None:
        place = web.on("/fn.py", File(b"def f(): return 1\n", etag='"1"'))
        assert run_job(code_src=place, env=env).value == 1
        web.on("/fn.py", File(b"def f(): return 2\n", etag='"2"'))
        assert run_job(code_src=place, env=env).value == 2
        web.on("/fn.py", File(b"def f(): return 1\n", etag='"1"'))
        assert run_job(code_src=place, env=env).value == 1

    def test_file_behind_a_redirect_is_asked_for_once(
        self, run_job: RunJob, web: HttpServer, env: dict[str, str]
    ) -> None:
        web.on("/real.py", File(SEVEN, etag='"1"'))
        place = web.on("/fn.py", redirect("/real.py"))
        assert run_job(code_src=place, env=env).value == [7, "fn"]
        web.seen.clear()
        done = run_job(code_src=place, env=env)
        assert (done.value, "from the cache" in done.stderr) == ([7, "fn"], True)
        assert [one.path for one in web.seen] == ["/fn.py", "/real.py"]

    def test_server_without_etag_is_asked_for_all_of_it(
        self, run_job: RunJob, web: HttpServer, env: dict[str, str]
    ) -> None:
        place = web.on("/fn.py", File(SEVEN))
        for _ in range(2):
            assert run_job(code_src=place, env=env).value == [7, "fn"]
        assert web.sent == 2 * len(SEVEN)

    @pytest.mark.parametrize("code", [401, 403, 404])
    def test_hit_counts_only_when_this_caller_was_answered(
        self, run_job: RunJob, web: HttpServer, env: dict[str, str], code: int
    ) -> None:
        place = web.on("/fn.py", File(SEVEN, etag='"1"'))
        assert run_job(code_src=place, env=env).code == 0
        web.on("/fn.py", status(code))
        done = run_job(code_src=place, env=env)
        assert (done.code, str(code) in done.failure["message"]) == (3, True)

    @pytest.mark.parametrize("limits", [{"bytes": 20}, {"files": 2}])
    def test_limits_hold_for_what_is_kept(
        self, run_job: RunJob, web: HttpServer, env: dict[str, str], limits: dict[str, int]
    ) -> None:
        place = web.on("/code.zip", File(zip_of(PACKAGE), etag='"1"'))
        assert run_job(code_src=place, env=env).code == 0
        done = run_job(code_src=place, env=env, limits=limits)
        assert (done.code, f"limits.{next(iter(limits))}" in done.failure["message"]) == (3, True), done.failure

    def test_pin_holds_for_what_is_kept(self, run_job: RunJob, web: HttpServer, env: dict[str, str]) -> None:
        place = web.on("/fn.py", File(SEVEN, etag='"1"'))
        assert run_job(code_src=place, env=env).code == 0
        assert run_job(code_src=place, env=env, sha256=sha256(SEVEN)).code == 0
        assert web.sent == len(SEVEN)
        assert run_job(code_src=place, env=env, sha256="0" * 64).code == 3

    def test_other_folder_of_the_same_archive_is_no_hit(
        self, run_job: RunJob, web: HttpServer, env: dict[str, str]
    ) -> None:
        files = {f"{name}/main.py": f"def f(): return {name!r}\n".encode() for name in "ab"}
        place = web.on("/code.zip", File(zip_of(files), etag='"1"'))
        assert [run_job(code_src=f"{place}#subdir={name}", env=env).value for name in "abab"] == list("abab")

    def test_spoiled_entry_is_fetched_anew(self, run_job: RunJob, web: HttpServer, env: dict[str, str]) -> None:
        place = web.on("/fn.py", File(SEVEN, etag='"1"'))
        run_job(code_src=place, env=env)
        for path in Path(env["NUWRAP_CACHE"], "sources").glob("*/tree/fn.py"):
            path.parent.chmod(0o700)
            path.unlink()
        done = run_job(code_src=place, env=env)
        assert (done.value, web.sent) == ([7, "fn"], 2 * len(SEVEN))

    def test_function_cannot_change_what_is_kept(self, run_job: RunJob, web: HttpServer, env: dict[str, str]) -> None:
        code = b"def f():\n    text = open(__file__).read()\n    open(__file__, 'a').write('#')\n    return len(text)\n"
        place = web.on("/fn.py", File(code, etag='"1"'))
        assert [run_job(code_src=place, env=env).value for _ in range(3)] == [len(code)] * 3

    @pytest.mark.parametrize("what", ["fn.py", "p/", "code.zip"])
    def test_s3(self, run_job: RunJob, s3: S3Server, bucket: str, env: dict[str, str], what: str) -> None:
        s3.make(bucket, {"fn.py": SEVEN, "p/main.py": SEVEN, "p/x.py": b"", "code.zip": zip_of({"main.py": SEVEN})})

        def run() -> Finished:
            return run_job(code_src=f"s3://{bucket}/{what}", env={**env, **s3.environ()})

        first = run()
        s3.seen.clear()
        second = run()
        assert (second.value, second.result["source"]) == (first.value, first.result["source"])
        assert ("from the cache" in first.stderr, "from the cache" in second.stderr) == (False, True)
        assert [one.key for one in s3.seen if one.method == "GET" and one.key != bucket] == []

    @pytest.mark.parametrize(("what", "questions"), [("fn.py", ["HEAD"]), ("p/", ["GET", "HEAD"]), ("p", None)])
    @pytest.mark.parametrize("is_versioned", [False, True], ids=["plain", "versioned"])
    def test_s3_second_start_makes_no_client(
        self,
        run_job: RunJob,
        s3: S3Server,
        bucket: str,
        env: dict[str, str],
        tmp_path: Path,
        what: str,
        questions: Optional[list[str]],
        is_versioned: bool,
    ) -> None:
        if is_versioned:
            s3.ask("PUT", f"/{bucket}?versioning", VERSIONED)
        s3.make(bucket, {"fn.py": SEVEN, "p/main.py": SEVEN, "p/x.py": b""})

        def run(**more: str) -> Finished:
            return run_job(code_src=f"s3://{bucket}/{what}", env={**env, **s3.environ(HOME=str(tmp_path)), **more})

        first = run()
        s3.seen.clear()
        second = run()
        assert (second.result["source"], "from the cache" in second.stderr) == (first.result["source"], True)
        assert [one.method for one in s3.seen] == (questions or ["HEAD", "GET", "HEAD"])
        assert [one for one in s3.seen if "boto" in one.headers["user-agent"].lower()] == []
        s3.seen.clear()
        by_client = run(AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "none"))  # what only boto3 understands
        assert ("from the cache" in by_client.stderr, by_client.result["source"]) == (True, first.result["source"])
        assert [one for one in s3.seen if "boto" not in one.headers["user-agent"].lower()] == []

    def test_s3_changed_object_below_a_prefix(
        self, run_job: RunJob, s3: S3Server, bucket: str, env: dict[str, str]
    ) -> None:
        s3.make(bucket, {"p/main.py": b"from x import f\n", "p/x.py": b"def f(): return 1\n"})

        def run() -> Finished:
            return run_job(code_src=f"s3://{bucket}/p/", env={**env, **s3.environ()})

        assert run().value == 1
        s3.make(bucket, {"p/x.py": b"def f(): return 2\n"})
        assert run().value == 2

    @pytest.mark.parametrize("what", ["fn.py", "p/"])
    def test_s3_who_may_not_read_gets_nothing_of_what_is_kept(
        self, run_job: RunJob, s3: S3Server, bucket: str, env: dict[str, str], what: str
    ) -> None:
        s3.make(bucket, {"fn.py": SEVEN, "p/main.py": SEVEN, "p/x.py": b""})

        def run() -> Finished:
            return run_job(code_src=f"s3://{bucket}/{what}", env={**env, **s3.environ()})

        assert run().code == 0
        s3.spoil = lambda request: Fault(403, "AccessDenied") if request.key.endswith(".py") else None
        done = run()
        assert (done.code, "403" in done.failure["message"]) == (3, True), done.failure


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED, a full disk: this user may not mount one ({done.stderr.strip()})")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("suffix", [".py", ".zip"])
def test_full_disk_is_one_error_and_leaves_nothing(run_job: RunJob, web: HttpServer, disk: Path, suffix: str) -> None:
    code = SEVEN + b"#" * 5_000_000
    content = code if suffix == ".py" else zip_of({"main.py": code})
    place = web.on(f"/fn{suffix}", File(content))
    done = run_job(code_src=place, env={"NUWRAP_WORK": str(disk / "work")}, command="fetch")
    assert (done.code, "o space" in done.stderr) == (3, True), done.stderr
    assert "Traceback" not in done.stderr
    left = [path.name for path in (disk / "work").rglob("*")]
    assert [name for name in left if not name.startswith(".nuwrap-") and name != "source"] == []
