"""What is asked without a client, over real servers: the same question and the same answer as the store's, or none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

import pytest
from botocore import auth, awsrequest, credentials
from botocore.session import Session
from http_server import File, HttpServer, for_login, make_certificate, raw, redirect, status
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_server import KEY, SECRET, Fault, S3Server, credential_region

from nuwrap_runtime.host.stores import Access, Entry, Progress, find_quickly, open_store
from nuwrap_runtime.host.stores.s3_quick import bucket_address
from nuwrap_runtime.host.stores.s3_settings import botocore_environment
from nuwrap_runtime.host.stores.s3_signing import Account, encoded_key, encoded_query, sign
from nuwrap_runtime.launch import Network

MOMENT = "20260131T235959Z"
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)
NAME = st.text("abcXYZ019/+=._~-", min_size=1, max_size=40)
KEYS = ["fn.py", "a b.py", "a#b.py", "a?b=c.py", "é/ü.py", "100%25.py", "a+b&c.py", "a//b.py", "~a'(b)!*.py", "x/"]
LISTED = "<Contents><Key>{}</Key><Size>1</Size><ETag>&quot;e&quot;</ETag></Contents>"


def access(environ: Mapping[str, str], **more: Any) -> Access:
    return Access(Progress("fetched", 10**9, "limits.bytes"), environ, **more)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / ".aws").mkdir(parents=True)
    return folder


@pytest.fixture
def ask(s3: S3Server, home: Path) -> Callable[..., Any]:
    """Ask quickly as somebody whose variables these are, more or other ones given."""

    def find(address: str, known: str = "", *, environ: Optional[Mapping[str, str]] = None, **more: Any) -> Any:
        found = {**s3.environ(HOME=str(home)), **(environ or {})}
        return find_quickly("s3", address, known, access(found, **more))

    return find


@pytest.fixture
def of_store(s3: S3Server, home: Path) -> Callable[[str], dict[str, str]]:
    """Return address → revision as the store itself finds them."""
    return lambda address: told(open_store("s3", access(s3.environ(HOME=str(home)))).find(address))


def told(entries: Any) -> dict[str, str]:
    return {entry.address: entry.revision for entry in entries}


# --- the signature


@settings(deadline=None)
@given(key=TEXT, query=st.dictionaries(NAME, TEXT, max_size=3), token=st.one_of(st.just(""), NAME), who=NAME)
def test_a_signature_is_botocores(key: str, query: dict[str, str], token: str, who: str) -> None:
    target = "/bucket/" + encoded_key(key) + (f"?{encoded_query(query)}" if query else "")
    found = sign("GET", "host:9000", target, Account(who, SECRET, token, "eu-west-1"), MOMENT)
    headers = {name: value for name, value in found.items() if name != "authorization"}
    request = awsrequest.AWSRequest("GET", f"http://host:9000{target}", headers)
    request.context["timestamp"] = MOMENT
    signer = auth.S3SigV4Auth(credentials.Credentials(who, SECRET, token or None), "s3", "eu-west-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert found["authorization"].endswith(f"Signature={signer.signature(text, request)}")
    assert f"Credential={signer.scope(request)}, SignedHeaders=" in found["authorization"]


def test_a_secret_is_in_no_text_of_an_account() -> None:
    assert SECRET not in repr(Account(KEY, SECRET, "token", "eu-west-1"))


# --- the same question as boto3's


@pytest.mark.parametrize("key", KEYS)
def test_the_question_is_the_one_of_boto3(
    s3: S3Server, bucket: str, ask: Callable[..., Any], of_store: Callable[..., Any], key: str
) -> None:
    s3.make(bucket, {key: b"1", "x/main.py": b"2"})
    address = f"s3://{bucket}/{key}"
    ours = ask(address)
    (asked,) = s3.seen
    assert told(ours) == of_store(address)
    theirs = next(one for one in s3.seen if "boto" in one.headers["user-agent"].lower())
    assert (asked.method, urlsplit(asked.path).path) == (theirs.method, urlsplit(theirs.path).path)
    assert (asked.host, credential_region(asked)) == (theirs.host, credential_region(theirs))


class _Sent(Exception):
    pass


def _not_to_be_sent(request: Any, **_: Any) -> None:
    raise _Sent(request.url)


@pytest.mark.parametrize("region", ["", "eu-west-1", "ap-southeast-2", "me-central-1"])
@pytest.mark.parametrize("bucket", ["code", "my-code-1"])
def test_a_bucket_of_aws_is_where_boto3_looks_for_it(region: str, bucket: str) -> None:
    environ = {"AWS_REGION": region} if region else {}
    client = Session().create_client("s3", region or "us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET)
    client.meta.events.register("before-send.s3", _not_to_be_sent)
    with pytest.raises(_Sent) as caught:
        client.head_object(Bucket=bucket, Key="k")
    ours = bucket_address(bucket, botocore_environment(environ))
    # two names of the same: boto3 says the first region's in the old way
    assert ours.replace(".us-east-1.", ".") + "/k" == str(caught.value)


@pytest.mark.parametrize(
    ("bucket", "environ"),
    [
        ("code", {"AWS_REGION": "cn-north-1"}),
        ("code", {"AWS_REGION": "us-gov-west-1"}),
        ("code", {"AWS_REGION": "aws-global"}),
        ("code", {"S3_PATH_STYLE": "true"}),
        ("my.code", {}),
        ("Code", {}),
        ("code--use1-az4--x-s3", {}),
        ("arn:aws:s3:us-east-1:1:accesspoint", {}),
        ("code", {"AWS_ENDPOINT_URL": "http://h/below"}),
        ("code", {"AWS_ENDPOINT_URL": "http://u@h"}),
        ("code", {"AWS_ENDPOINT_URL": "http://h", "S3_PATH_STYLE": "false"}),
    ],
)
def test_what_boto3_has_rules_of_its_own_for_is_left_to_it(bucket: str, environ: dict[str, str]) -> None:
    assert bucket_address(bucket, botocore_environment(environ)) == ""


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL"])
def test_an_endpoint_has_three_names_here_too(s3: S3Server, name: str) -> None:
    assert bucket_address("code", botocore_environment({name: f"{s3.url}/"})) == f"{s3.url}/code"


# --- what is found


@pytest.mark.parametrize("end", ["", "/"], ids=["without-slash", "with-slash"])
def test_a_prefix_is_listed_as_the_store_does(
    s3: S3Server, bucket: str, ask: Callable[..., Any], of_store: Callable[..., Any], end: str
) -> None:
    s3.make(bucket, {"p/main.py": b"1", "p/a b+c.py": b"2", "p/é/x.py": b"3", "p/": b"", "p2": b"no"})
    found = ask(f"s3://{bucket}/p{end}")
    assert told(found) == of_store(f"s3://{bucket}/p{end}")
    assert sorted(entry.name for entry in found) == ["a b+c.py", "main.py", "é/x.py"]


def test_a_version_is_told_unless_a_list_knew_none(s3: S3Server, bucket: str, ask: Callable[..., Any]) -> None:
    enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    s3.ask("PUT", f"/{bucket}?versioning", enabled)
    s3.make(bucket, {"p/k": b"1"})
    (listed,) = ask(f"s3://{bucket}/p/")
    (found,) = ask(f"s3://{bucket}/p/k")
    (again,) = ask(f"s3://{bucket}/p/k", listed.revision)
    assert found.revision.startswith(f"{listed.revision} ")
    assert again.revision == listed.revision


def test_a_session_token_is_sent_and_signed(s3: S3Server, bucket: str, ask: Callable[..., Any]) -> None:
    s3.make(bucket, {"k": b"1"})
    assert ask(f"s3://{bucket}/k", environ={"AWS_SESSION_TOKEN": "the-token", "AWS_REGION": "eu-west-1"})
    (asked,) = s3.seen
    assert asked.headers["x-amz-security-token"] == "the-token"
    assert "x-amz-security-token" in asked.headers["authorization"]
    assert credential_region(asked) == "eu-west-1"


# --- what is left to the store


@pytest.mark.parametrize(
    "environ",
    [
        {"AWS_ACCESS_KEY_ID": ""},
        {"AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_PROFILE": "other"},
        {"AWS_CONFIG_FILE": "/nowhere"},
        {"AWS_ROLE_ARN": "arn:aws:iam::1:role/r"},
        {"AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        {"S3_SIGNATURE_VERSION": "s3"},
        {"S3_PATH_STYLE": "maybe"},
        {"http_proxy": "http://127.0.0.1:1"},
        {"HOME": ""},
    ],
    ids="".join,
)
def test_nobody_is_asked_where_more_than_these_variables_decides(
    s3: S3Server, bucket: str, ask: Callable[..., Any], environ: dict[str, str]
) -> None:
    s3.make(bucket, {"k": b"1"})
    assert ask(f"s3://{bucket}/k", environ=environ) is None
    assert s3.seen == []


@pytest.mark.parametrize("name", ["config", "credentials"])
def test_nobody_is_asked_where_a_file_may_decide(
    s3: S3Server, bucket: str, ask: Callable[..., Any], home: Path, name: str
) -> None:
    (home / ".aws" / name).touch()
    assert ask(f"s3://{bucket}/k") is None
    assert s3.seen == []


def test_nobody_is_asked_through_a_proxy_or_for_a_path_that_servers_resolve(
    s3: S3Server, bucket: str, ask: Callable[..., Any]
) -> None:
    assert ask(f"s3://{bucket}/k", network=Network(proxies={"http": "http://127.0.0.1:1"})) is None
    assert [ask(f"s3://{bucket}/{key}") for key in ("../k", "a/./k", "a/..")] == [None] * 3
    assert s3.seen == []


@pytest.mark.parametrize(
    "fault",
    [Fault(403, "AccessDenied"), Fault(301), Fault(500), Fault(200), Fault(200, body=b"<html>")],
    ids=["403", "301", "500", "no-etag", "page"],
)
@pytest.mark.parametrize("name", ["k", "p/"])
def test_a_refusal_is_the_stores_to_explain(
    s3: S3Server, bucket: str, ask: Callable[..., Any], name: str, fault: Fault
) -> None:
    s3.spoil = lambda _request: fault
    assert ask(f"s3://{bucket}/{name}") is None
    assert len(s3.seen) == 1


@pytest.mark.parametrize(
    "body",
    [
        "<L><IsTruncated>true</IsTruncated>" + LISTED.format("p/k") + "</L>",
        "<L>" + LISTED.format("p/k") + "</L>",
        "<L><IsTruncated>false</IsTruncated>" + LISTED.format("../k") + "</L>",
        "<L><IsTruncated>false</IsTruncated>" + LISTED.format("p/k") * 3 + "</L>",
        "<L><IsTruncated>false</IsTruncated></L>",
        "<L><IsTruncated>false</IsTruncated>" + LISTED.format("p/k"),
    ],
    ids=["goes-on", "may-go-on", "elsewhere", "too-many", "empty", "cut"],
)
def test_a_list_that_is_not_all_of_it_is_none(s3: S3Server, bucket: str, ask: Callable[..., Any], body: str) -> None:
    s3.spoil = lambda _request: Fault(200, body=body.encode())
    assert ask(f"s3://{bucket}/p/", max_files=2) is None


def test_more_than_a_page_is_left_to_the_store(s3: S3Server, bucket: str, ask: Callable[..., Any]) -> None:
    s3.make(bucket, {f"p/{number}": b"" for number in range(1001)})
    assert ask(f"s3://{bucket}/p/") is None


# --- time


@pytest.mark.parametrize("fault", [Fault(delay=5), Fault(200, body=b"x" * 200_000, pause=1.0)], ids=["mute", "slow"])
def test_a_slow_server_has_no_longer_than_is_left(
    s3: S3Server, bucket: str, ask: Callable[..., Any], fault: Fault
) -> None:
    s3.spoil = lambda _request: fault
    began = time.monotonic()
    assert ask(f"s3://{bucket}/p/", deadline=began + 0.5) is None
    assert time.monotonic() - began < 2


def test_a_head_that_trickles_has_no_longer_than_is_left(web: HttpServer) -> None:
    address = web.on("/f", raw(b"HTTP/1.1 304 X\r\n", *[b"X: y\r\n"] * 50, pause_s=0.1))
    began = time.monotonic()
    assert find_quickly("http", address, 'etag:"1"', access({}, deadline=began + 0.5)) is None
    assert time.monotonic() - began < 2


def test_what_is_over_is_not_asked(web: HttpServer) -> None:
    address = web.on("/f", File(b"1", etag='"1"'))
    assert find_quickly("http", address, 'etag:"1"', access({}, deadline=time.monotonic() - 1)) is None
    assert web.seen == []


# --- http


def ask_http(address: str, known: str = 'etag:"1"', environ: Optional[Mapping[str, str]] = None, **more: Any) -> Any:
    return find_quickly("http", address, known, access(environ or {}, **more))


def ignoring_conditions(request: Any) -> None:
    request.reply(200, b"1" * 1000, {"ETag": '"1"'})


@pytest.mark.parametrize("answer", [File(b"1", etag='"1"'), ignoring_conditions], ids=["304", "200"])
def test_a_file_that_is_still_the_same_is_told(web: HttpServer, answer: Any) -> None:
    address = web.on("/f?x=1", answer)
    assert ask_http(address + "#pin") == (Entry(address, revision='etag:"1"'),)
    (asked,) = web.seen
    assert (asked.path, asked.headers["if-none-match"]) == ("/f?x=1", '"1"')
    assert asked.headers["host"] == f"127.0.0.1:{web.port}"


@pytest.mark.parametrize(
    "answer",
    [
        File(b"2", etag='"2"'),
        File(b"2"),
        status(200, "weak", ETag='W/"1"'),
        status(403),
        status(404),
        status(500),
        redirect("/other"),
        raw(b"HTTP/1.1 200"),
        raw(b"no http at all\r\n\r\n"),
        raw(),
    ],
    ids=["other", "no-etag", "weak", "403", "404", "500", "redirect", "cut", "noise", "closed"],
)
def test_anything_else_is_the_stores_to_ask_again(web: HttpServer, answer: Any) -> None:
    web.on("/other", File(b"1", etag='"1"'))
    assert ask_http(web.on("/f", answer)) is None
    assert [one.path for one in web.seen] == ["/f"]


@pytest.mark.parametrize("known", ["", 'etag:W/"1"', "etag:", "1"])
def test_without_a_strong_etag_nobody_is_asked(web: HttpServer, known: str) -> None:
    assert ask_http(web.on("/f", File(b"1")), known) is None
    assert web.seen == []


def test_a_login_of_netrc_is_sent(web: HttpServer, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word\n")
    address = web.on("/f", for_login("me:word", File(b"1", etag='"1"')))
    assert ask_http(address) is None
    assert ask_http(address, environ={"NETRC": str(tmp_path / "netrc")})


def test_nobody_is_asked_where_a_proxy_is_set(web: HttpServer) -> None:
    address = web.on("/f", File(b"1", etag='"1"'))
    assert ask_http(address, environ={"HTTP_PROXY": "http://127.0.0.1:1"}) is None
    assert ask_http(address, network=Network(proxies={"all": "nonsense://"})) is None
    assert ask_http(address, environ={"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"})
    assert len(web.seen) == 1


def test_a_server_that_is_not_there_is_none() -> None:
    assert ask_http("http://127.0.0.1:1/f") is None


def test_a_certificate_counts_here_too(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with HttpServer(tls=certificate) as web:
        address = web.on("/f", File(b"1", etag='"1"'))
        assert ask_http(address) is None
        assert ask_http(address, network=Network(ca=str(tmp_path / "nowhere"))) is None
        assert web.seen == []
        assert ask_http(address, network=Network(ca=str(certificate)))


class _TlsS3Server(S3Server):
    """The same server over TLS."""

    def __init__(self, certificate: Path) -> None:
        import ssl

        super().__init__()
        self.url = self.url.replace("http:", "https:")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(str(certificate))

    def get_request(self) -> tuple[Any, Any]:
        opened, address = super().get_request()
        return self._tls.wrap_socket(opened, server_side=True, do_handshake_on_connect=False), address


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path)


@pytest.fixture
def over_tls(certificate: Path) -> Iterator[S3Server]:
    with _TlsS3Server(certificate) as server:
        yield server


def test_s3_over_tls_trusts_whom_boto3_trusts(over_tls: S3Server, certificate: Path, ask: Callable[..., Any]) -> None:
    over_tls.make("code", {"k": b"1", "p/k": b"2"})
    there = {"AWS_ENDPOINT_URL": over_tls.url}
    assert ask("s3://code/k", environ=there) is None
    assert ask("s3://code/k", environ={**there, "AWS_CA_BUNDLE": str(certificate.parent / "nowhere")}) is None
    assert over_tls.seen == []
    assert ask("s3://code/k", environ={**there, "AWS_CA_BUNDLE": str(certificate)})
    assert ask("s3://code/p/", environ=there, network=Network(ca=str(certificate)))
