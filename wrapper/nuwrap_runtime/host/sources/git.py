"""Fetch `git+…` sources. Knows git, not what the code is for: a folder without `.git` and a commit come out.

git runs through GitPython's `Git.execute`, always as an argument list with an environment of our making. What a start
from the cache asks for, the list of refs, goes without it: GitPython's import takes longer than all the rest of that.
"""

from __future__ import annotations

import os
import re
import select
import signal
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from subprocess import Popen, TimeoutExpired
from typing import IO, Any, Final, cast

from nuwrap_runtime.errors import SourceError
from nuwrap_runtime.host.folders import move_all
from nuwrap_runtime.host.process import kill_group, mask, start_piped
from nuwrap_runtime.host.source_cache import SourceCache, cache_bytes, key, open_cache
from nuwrap_runtime.host.sources import Checkout, Source
from nuwrap_runtime.host.sources.git_address import PROTOCOLS, Address, parse_address
from nuwrap_runtime.host.sources.git_credentials import Access, open_access
from nuwrap_runtime.host.sources.git_refs import (
    Target,
    Way,
    choose,
    commit_target,
    describe_refs,
    find_commit,
    parse_refs,
)
from nuwrap_runtime.host.sources.git_tree import check_listing, deliver
from nuwrap_runtime.host.workspace import empty_folder, remove_tree

LOG_LINES: Final = 8
LIST: Final = "ls-remote"
ENGLISH: Final = {"LANGUAGE": "C", "LC_ALL": "C"}  # as GitPython has it: `_HINTS` are read from git's words

# What git says (C locale), and what its user can do about it.
_HINTS: Final = (
    (r"Host key verification failed", "the server's key is not known: give it as GIT_SSH_KNOWN_HOSTS (text or path)"),
    (r"Permission denied \(", "the server takes none of the SSH keys: give one as GIT_SSH_KEY (text or path)"),
    (r"certificate", "give the server's CA file as network.ca"),
    (r"dubious ownership", "only the source itself may belong to another user, its submodules may not"),
    (r"not found|does not appear to be a git repo|not exist", "see that the address is right and may be read"),
)


def fetch(source: Source, into: str, environ: Mapping[str, str]) -> Checkout:
    """Check one commit out into `into`, submodules included; `revision` is that commit in full.

    Without a ref the remote's default branch; a branch comes before a tag of the same name, as with `git clone`
    (`#refs/tags/NAME` is the tag); a name before a commit's abbreviation. All of it happens below `into`, so that
    whoever removes that folder after a kill has removed everything. What the cache has is taken from there once the
    server has listed its refs to this caller's own credentials. Raises SourceError with git's own reason.
    """
    address = parse_address(source)
    if source.keep_git and address.subdir:
        raise SourceError(f"code_src {address.shown!r}: keep_git keeps a whole repository; leave out it or ?subdir=")
    base = os.path.realpath(into)
    cache = open_cache(source.cache, cache_bytes(environ))
    try:
        folder = tempfile.mkdtemp(prefix=".nuwrap-git-", dir=base)
        checkout = _fetch_into(_Order(source, address, cache, folder, base), environ)
        move_all(checkout.root, base)
    except BaseException as exc:  # a stop too: nothing half-fetched stays
        empty_folder(base)
        if isinstance(exc, (OSError, ValueError)):
            raise SourceError(f"code_src {address.shown!r}: {exc}") from exc
        raise
    remove_tree(folder)
    return replace(checkout, root=into)


@dataclass(frozen=True)
class _Order:
    """One fetch: what, and where it happens. `folder` is a private one in `base`, the code's own folder."""

    source: Source
    address: Address
    cache: SourceCache
    folder: str
    base: str

    def listed(self) -> Sequence[str]:
        """Return what `ls-remote` is asked for; the default branch's commit is told with everything else alone."""
        return () if self.cache.is_open and self.address.ref in ("", "HEAD") else ("--heads", "--tags")

    def key(self, commit: str) -> str:
        """Return the name in the cache."""
        return _key(self.source, self.address, commit)

    def copy_kept(self, commit: str, code: str) -> bool:
        """Copy what is kept of the commit to the folder `code`; what this caller's limits may forbid is no hit."""
        facts, limits = self.cache.facts(self.key(commit)), self.source.limits
        if not facts or facts["bytes"] > limits.bytes or facts["files"] > limits.files:
            return False
        return self.cache.copy(self.key(commit), code) is not None

    def keep(self, commit: str, code: str) -> None:
        """Keep the code for the next start."""
        self.cache.keep(self.key(commit), code, {"address": f"git+{_without_user(self.address)}", "revision": commit})


def kept(source: Source, cache: SourceCache) -> list[str]:
    """Return the commits that the cache has; see `sources.kept`. What is kept has no name of a branch or a tag."""
    address = parse_address(source)
    found = [one for one in cache.revisions(f"git+{_without_user(address)}") if cache.facts(_key(source, address, one))]
    is_commit = re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", address.ref)
    return [one for one in found if one == address.ref] if is_commit else found


def _key(source: Source, address: Address, commit: str) -> str:
    """Return the name in the cache; the commit decides the content, whoever asks for it."""
    return key("git", _without_user(address), commit, address.subdir, str(source.keep_git))


def _without_user(address: Address) -> str:
    return re.sub(r"//[^/]*@", "//", address.url)


def _fetch_into(order: _Order, environ: Mapping[str, str]) -> Checkout:
    """Make the code in a folder of its own and return it there."""
    source, address = order.source, order.address
    tree, code = os.path.join(order.folder, "tree"), os.path.join(order.folder, "code")
    os.mkdir(code)
    access_of = open_access(address, source.network, environ, order.folder, order.base)
    with access_of as access, _only(access.environ):
        git = _Git(address, access, order.folder, source.limits.seconds, time.monotonic() + source.limits.seconds)
        listing = git.must("read the repository", LIST, *order.listed(), "--", access.url)
        refs = parse_refs(listing)
        target = choose(address.ref, refs)
        commit = find_commit(target, listing)
        if commit and order.copy_kept(commit, code):
            return Checkout(code, commit, from_cache=True)
        commit = _obtain(git, target, refs, tree)
        inside = git.at(tree)
        with closing(inside.stream("list the files", "ls-tree", "-r", "-l", "-z", "--full-tree", commit)) as blocks:
            check_listing(source.limits, blocks)
        inside.must("check out the commit", "checkout", "--quiet", "--force", "--detach", commit)
        _update_submodules(inside)
        is_plain = order.cache.is_open and _is_plain(inside, commit)
    deliver(source, tree, address.subdir, code)
    if is_plain:
        order.keep(commit, code)
    return Checkout(code, commit)


def _is_plain(git: _Git, commit: str) -> bool:
    """Tell whether the commit alone decides the files.

    Submodules' servers want credentials of their own, filters (LFS) are programs that this user has or has not.
    """
    if os.path.lexists(os.path.join(git.folder, ".gitmodules")):
        return False
    return git.run("grep", "-q", "filter=", commit, "--", ":(glob)**/.gitattributes").status == 1


def _obtain(git: _Git, target: Target, refs: Mapping[str, str], tree: str) -> str:
    """Make a repository in `tree` that has the target's commit, as little else as the server lets us; return it."""
    way = _fetch_first(git.at(tree), target, refs)
    commit = _resolve(git.at(tree), target, refs)
    return commit if way.has_files else _obtain(git, commit_target(commit), refs, tree)


def _fetch_first(git: _Git, target: Target, refs: Mapping[str, str]) -> Way:
    """Fetch by the first of the target's ways that the server serves and return that way."""
    for way in target.ways:
        _make_repository(git, refs)
        ended = git.run("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", *way.options, "origin", *way.refs)
        if ended.status == 0:
            return way
    raise git.failure(f"fetch {target.shown}", ended, more=describe_refs(refs))


def _make_repository(git: _Git, refs: Mapping[str, str]) -> None:
    """Make the folder anew: what a refused way has left in the configuration (a filter) would change the next."""
    remove_tree(git.folder)
    os.mkdir(git.folder)
    form = "sha256" if any(len(oid) == 64 for oid in refs.values()) else "sha1"
    git.must("make a repository", "init", "--quiet", "--template=", f"--object-format={form}")
    git.must("make a repository", "remote", "add", "origin", git.access.url)


def _resolve(git: _Git, target: Target, refs: Mapping[str, str]) -> str:
    ended = git.run("rev-parse", "--verify", target.name + "^{commit}")
    if ended.status == 0:
        return ended.output
    found = git.run("rev-parse", f"--disambiguate={target.name}").output.split() if target.is_abbreviated else []
    commits = [one for one in found if git.run("cat-file", "-t", one).output in ("commit", "tag")]
    if len(commits) > 1:
        several = ", ".join(sorted(commits)[:10])
        raise git.refusal(f"{target.shown} is ambiguous, {len(commits)} commits begin so: {several}; write more of it")
    raise git.refusal(f"{target.shown} is no commit of the repository; {describe_refs(refs)}")


def _update_submodules(git: _Git) -> None:
    """Check submodules out at any depth; shallow ones, unless one's server refuses that."""
    if not os.path.lexists(os.path.join(git.folder, ".gitmodules")):
        return
    command = ("submodule", "--quiet", "update", "--init", "--recursive")
    if git.run(*command, "--depth=1").status == 0:
        return
    git.must("start the submodules anew", "submodule", "--quiet", "deinit", "--force", "--all")
    remove_tree(os.path.join(git.folder, ".git", "modules"))
    git.must("check out the submodules", *command)


@dataclass(frozen=True)
class _Ended:
    """How a git command ended: standard output without its last line break, standard error's lines."""

    status: int
    output: str
    log: Sequence[str]


@dataclass(frozen=True)
class _Git:
    """git in one folder, with one source's access, until `deadline` on the monotonic clock."""

    address: Address
    access: Access
    folder: str
    seconds: float
    deadline: float

    def at(self, folder: str) -> _Git:
        """Return the same in another folder."""
        return _Git(self.address, self.access, folder, self.seconds, self.deadline)

    def run(self, *arguments: str) -> _Ended:
        """Run a command to its end, whatever that is. Raises SourceError when git is missing or the time is over."""
        process = self._start(arguments)
        try:
            output, log = process.communicate(timeout=max(0.0, self.deadline - time.monotonic()))
        except TimeoutExpired as exc:
            raise self.refusal(f"git {arguments[0]} is not done after {self.seconds:g} s (limits.seconds)") from exc
        finally:
            _end(process)
        lines = [line for line in re.split(r"[\r\n]+", log.decode("utf-8", "replace")) if line.strip()]
        return _Ended(process.returncode, output.decode("utf-8", "replace").rstrip("\n"), lines)

    def must(self, doing: str, *arguments: str) -> str:
        """Return the command's output. Raises SourceError when it fails."""
        ended = self.run(*arguments)
        if ended.status:
            raise self.failure(doing, ended)
        return ended.output

    def stream(self, doing: str, *arguments: str) -> Generator[bytes, None, None]:
        """Yield the command's output as it comes; closing ends it. Raises SourceError when it fails."""
        process = self._start(arguments)
        pipe, log = cast("IO[bytes]", process.stdout), cast("IO[bytes]", process.stderr)
        try:
            while True:
                left = max(0.0, self.deadline - time.monotonic())
                if not select.select([pipe], [], [], left)[0]:
                    raise self.refusal(f"git {arguments[0]} is not done after {self.seconds:g} s (limits.seconds)")
                data = os.read(pipe.fileno(), 65536)
                if not data:
                    break
                yield data
            said = log.read(65536).decode("utf-8", "replace").splitlines()
            if process.wait():
                raise self.failure(doing, _Ended(process.returncode, "", said))
        finally:
            _end(process)

    def failure(self, doing: str, ended: _Ended, more: str = "") -> SourceError:
        """Return the error that says what git said, and what to do about it."""
        said = "\n".join(f"  {line}" for line in ended.log[-LOG_LINES:]) or f"  exit code {ended.status}"
        parts = [f"git cannot {doing}:\n{said}", self._hint(said), more]
        return self.refusal("\n".join(part for part in parts if part))

    def refusal(self, reason: str) -> SourceError:
        """Return the error that names the source and the reason."""
        return SourceError(f"code_src {self.address.shown!r}: {mask(reason, self.access.secrets)}")

    def _hint(self, said: str) -> str:
        blocked = re.search(r"transport '(\w+)' not allowed|Protocol \"(\w+)\" .*(?:disabled|not supported)", said)
        if blocked:
            allowed = PROTOCOLS[self.address.scheme].replace(":", ", ")
            found = blocked.group(1) or blocked.group(2)
            return f"a submodule or a redirect uses {found!r}; allowed from git+{self.address.scheme}: {allowed}"
        if re.search(r"Authentication failed|could not read (?:Username|Password)|error: 40[13]", said):
            return self._login_hint()
        return next((hint for pattern, hint in _HINTS if re.search(pattern, said)), "")

    def _login_hint(self) -> str:
        if not self.access.has_login:
            return "the server wants a login: set GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD"
        return f"see that GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD, is right; only {self.address.server} gets it"

    def _start(self, arguments: Sequence[str]) -> Popen[bytes]:
        start = self._start_directly if arguments[0] == LIST else self._start_by_gitpython
        return start(["git", *arguments])

    def _start_directly(self, argv: Sequence[str]) -> Popen[bytes]:
        try:
            return start_piped(
                argv,
                env={**self.access.environ, **ENGLISH},
                cwd=self.folder,
                pass_fds=tuple(self.access.descriptors),
                leads_session=not _leads_session(),
            )
        except OSError as exc:
            raise self._missing() from exc

    def _start_by_gitpython(self, argv: Sequence[str]) -> Popen[bytes]:
        import git

        try:
            started: Any = git.Git(self.folder).execute(
                argv,
                as_process=True,
                pass_fds=tuple(self.access.descriptors),
                start_new_session=not _leads_session(),
            )
        except git.GitCommandNotFound as exc:
            raise self._missing() from exc
        process: Popen[bytes] = started.proc
        started.proc = None  # else it ends git as soon as nobody holds it
        return process

    def _missing(self) -> SourceError:
        path = self.access.environ.get("PATH", "")
        return self.refusal(f"the program git is not on PATH ({path}); install git")


def _leads_session() -> bool:
    """Whether this process is a child that the host started for one fetch.

    Then git stays in its group, so that the host, which kills that group, reaches git too.
    """
    return os.getsid(0) == os.getpid()


def _end(process: Popen[bytes]) -> None:
    """See that git and its helpers are gone, also when we are stopped half-way.

    `git` alone would leave `git-remote-https` behind, and `kill_after_timeout` of GitPython needs `ps`, which small
    images lack.
    """
    if process.poll() is None:
        if _leads_session():
            before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(0, signal.SIGTERM)
            signal.signal(signal.SIGTERM, before)
        else:
            kill_group(process.pid)
        try:
            process.wait(5)
        except TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


@contextmanager
def _only(environ: Mapping[str, str]) -> Iterator[None]:
    """Make `environ` all of os.environ for the time: GitPython gives that to git and can add to it, not take away."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
