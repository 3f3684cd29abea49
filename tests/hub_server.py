"""A stand-in for the Hugging Face hub on this machine: what huggingface_hub asks to publish and to fetch."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from file_server import listening

TOKEN = "hf_of_a_test"


@dataclass
class Repository:
    """Files of each branch and commit, and what a client is told."""

    private: bool = False
    gated: bool = False
    revisions: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    messages: list[str] = field(default_factory=list)

    def put(self, revision: str, files: dict[str, bytes], message: str = "") -> str:
        """A commit on a branch; returns its name."""
        self.revisions[revision] = {**self.revisions[revision], **files}
        self.messages.append(message)
        commit = hashlib.sha1(f"{revision} {len(self.messages)}".encode()).hexdigest()
        self.commits[revision], self.commits[commit] = commit, commit
        self.revisions[commit] = self.revisions[revision]
        return commit


@dataclass
class HubServer:
    """Repositories by `owner/name`; `log` has method and path of each request."""

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    writable: bool = True
    status: int | None = None  # of every answer, instead of the right one
    headers: dict[str, str] = field(default_factory=dict)  # of a file, instead of the right ones


@contextmanager
def serving_hub() -> Iterator[HubServer]:
    """Run a hub for the time of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, content: Any = None, **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def begin(self) -> tuple[str, bytes, bool]:
            path = unquote(self.path.partition("?")[0])
            hub.log.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return path, body, self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def do_HEAD(self) -> None:
            path, _, known = self.begin()
            if hub.status is not None:
                return self.answer(hub.status)
            name, _, rest = path.strip("/").partition("/resolve/")
            repository = hub.repositories.get(name)
            if repository is None or (repository.private and not known):
                return self.answer(404 if known else 401, X_Error_Code="RepoNotFound")
            if repository.gated and not known:
                return self.answer(401, X_Error_Code="GatedRepo")
            revision, _, file = rest.rpartition("/")
            if revision not in repository.revisions:
                return self.answer(404, X_Error_Code="RevisionNotFound")
            content, commit = repository.revisions[revision].get(file), repository.commits[revision]
            if content is None:
                return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            large = hashlib.sha256(content).hexdigest()
            etag = large if large in hub.large else hashlib.sha1(content).hexdigest()
            told = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, **hub.headers}
            return self.answer(200, content, **told)

        do_GET = do_HEAD  # noqa: N815

        def do_PUT(self) -> None:
            path, body, _ = self.begin()
            oid = path.rpartition("/")[2]
            assert hashlib.sha256(body).hexdigest() == oid
            hub.large[oid] = body
            self.answer(200)

        def do_POST(self) -> None:
            path, body, known = self.begin()
            if hub.status is not None:
                return self.answer(hub.status)
            if path == "/api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            if not known:
                return self.answer(401, {"error": "Invalid username or password."})
            if not hub.writable:
                return self.answer(403, {"error": "You don't have the rights to create a model"})
            if path == "/api/repos/create":
                return self.create(json.loads(body))
            if path.endswith("/info/lfs/objects/batch"):
                objects = [self.large_action(one) for one in json.loads(body)["objects"]]
                return self.answer(200, {"transfer": "basic", "objects": objects})
            name, _, rest = path.removeprefix("/api/models/").partition("/branch/")
            if rest:
                repository = hub.repositories[name]
                repository.revisions[rest] = dict(repository.revisions["main"])
                repository.commits[rest] = repository.commits["main"]
                return self.answer(201)
            if "/preupload/" in path:
                files = [
                    {"path": one["path"], "uploadMode": mode(one["path"]), "shouldIgnore": False}
                    for one in json.loads(body)["files"]
                ]
                return self.answer(200, {"files": files})
            name, _, revision = path.removeprefix("/api/models/").partition("/commit/")
            lines = [json.loads(line) for line in body.splitlines()]
            message = next(line["value"]["summary"] for line in lines if line["key"] == "header")
            files = {line["value"]["path"]: content_of(line) for line in lines if line["key"] != "header"}
            commit = hub.repositories[name].put(revision, files, message)
            return self.answer(200, {"commitUrl": f"{hub.address}/{name}/commit/{commit}", "commitOid": commit})

        def create(self, wanted: dict[str, Any]) -> None:
            name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            if name in hub.repositories:
                return self.answer(
                    409, {"error": "You already created this model repo", "url": f"{hub.address}/{name}"}
                )
            hub.repositories[name] = Repository(
                private=bool(wanted.get("private")) or wanted.get("visibility") == "private"
            )
            return self.answer(200, {"url": f"{hub.address}/{name}"})

        def large_action(self, wanted: dict[str, Any]) -> dict[str, Any]:
            action = {"upload": {"href": f"{hub.address}/lfs/{wanted['oid']}", "header": {}}}
            return {**wanted, "actions": action}

        def log_message(self, *_: object) -> None:
            pass

    def mode(path: str) -> str:
        return "lfs" if path.endswith(".safetensors") else "regular"

    def content_of(line: dict[str, Any]) -> bytes:
        value = line["value"]
        return hub.large[value["oid"]] if line["key"] == "lfsFile" else base64.b64decode(value["content"])

    with listening(Handler) as address:
        hub = HubServer(address)
        yield hub
