"""Outside files come in verified, whole, and only once."""

import errno
import functools
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from vitrine.data import sources
from vitrine.data.concepts import CONCEPT_LISTS
from vitrine.errors import FileMissing, SourceError, Unwritten, VitrineError
from vitrine.files import writing
from vitrine.methods.dissection.encoders import ENCODERS
from vitrine.models.registry import CLASSIFIERS
from vitrine.project import Project

CONTENT = b"an image, say"


class _Server(http.server.ThreadingHTTPServer):
    asked: list[str]
    url: str


@pytest.fixture
def server(tmp_path: Path) -> Iterator[_Server]:
    """A real web server on this machine that remembers what it was asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file.bin").write_bytes(CONTENT)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked.append(self.path)  # type: ignore[attr-defined]
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    found = _Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    found.asked, found.url = [], f"http://127.0.0.1:{found.server_port}/"
    threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def served(project: Project, server: _Server) -> Project:
    """A project whose only source is that server."""
    _write_source(project, server.url, sha256(CONTENT).hexdigest())
    return project


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads are tried again without waiting."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)


def _write_source(project: Project, url: str, digest: str) -> None:
    (project.data / "sources.toml").write_text(
        f'[here]\ntitle = "T"\nowner = "O"\nurl = "{url}"\nlicence = "L"\nused_for = "U"\n'
        f'[here.files]\n"file.bin" = "{digest}"\n'
    )


def _assert_refused(
    project: Project, said: str, kind: type[VitrineError] = SourceError
) -> VitrineError:
    with pytest.raises(kind, match=said) as caught:
        sources.fetch_one(project, "here", "file.bin")
    return caught.value


def _leftovers(project: Project) -> list[str]:
    return sorted(path.name for path in project.cache.rglob("*") if path.is_file())


def test_a_file_is_downloaded_once_and_again_when_it_is_damaged(
    served: Project, server: _Server
) -> None:
    for _ in range(2):
        path = sources.fetch_one(served, "here", "file.bin")
        assert path.read_bytes() == CONTENT
    assert server.asked == ["/file.bin"]
    path.write_bytes(b"damaged")
    source = sources.pick_source(served, "here")
    assert sources.is_intact(served, source, "file.bin") is False
    assert sources.fetch_one(served, "here", "file.bin").read_bytes() == CONTENT
    assert sources.is_intact(served, source, "file.bin") is True
    assert len(server.asked) == 2 and _leftovers(served) == ["file.bin"]


def test_a_file_with_another_digest_is_refused_and_nothing_is_kept(
    project: Project, server: _Server
) -> None:
    _write_source(project, server.url, "0" * 64)
    _assert_refused(project, "does not have the SHA-256")
    assert _leftovers(project) == []


def test_a_file_without_published_digest_is_pinned_at_its_first_download(
    project: Project, server: _Server, tmp_path: Path
) -> None:
    _write_source(project, server.url, sources.PIN)
    path = sources.fetch_one(project, "here", "file.bin")
    pin = project.data / "pins" / "here" / "file.bin"
    assert pin.read_text().strip() == sha256(CONTENT).hexdigest()
    path.unlink()
    (tmp_path / "served" / "file.bin").write_bytes(b"something else now")
    _assert_refused(project, "does not have the SHA-256")


@pytest.mark.parametrize(
    ("url", "mirror", "said"),
    [
        ("http://127.0.0.1:9/", "", r"cannot be downloaded.*set VITRINE_MIRROR"),
        ("https://example.org/", ".", r"example.org/file.bin does not exist"),
        ("https://example.org/", "/nowhere/at/all", "VITRINE_MIRROR names /nowhere/at/all"),
        (
            "https://example.org/",
            "looped",  # which is no question of the cache
            r"example\.org/file\.bin cannot be read \(Too many levels.*right to read it",
        ),
    ],
)
def test_a_file_that_cannot_be_had_is_one_message(
    project: Project, monkeypatch: pytest.MonkeyPatch, url: str, mirror: str, said: str
) -> None:
    (project.root / "looped/example.org").mkdir(parents=True)
    (project.root / "looped/example.org/file.bin").symlink_to("file.bin")
    if mirror:
        monkeypatch.setenv("VITRINE_MIRROR", str(project.root / mirror))
    _write_source(project, url, "0" * 64)
    _assert_refused(project, said)
    assert _leftovers(project) == []


def test_a_mirror_stands_in_for_the_network_and_digests_are_checked_just_the_same(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = tmp_path / "mirror"
    base = "https://raw.githubusercontent.com/OWNER/REPO/COMMIT/"
    (mirror / "OWNER/REPO/COMMIT").mkdir(parents=True)
    (mirror / "OWNER/REPO/COMMIT/file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("VITRINE_MIRROR", str(mirror))
    _write_source(project, base, "0" * 64)
    caught = _assert_refused(project, r"mirror/OWNER.*/file\.bin does not have the")
    assert "unset VITRINE_MIRROR" in caught.remedy
    assert _leftovers(project) == []
    _write_source(project, base, sha256(CONTENT).hexdigest())
    assert sources.fetch_one(project, "here", "file.bin").read_bytes() == CONTENT


def test_other_hosts_lie_in_the_mirror_under_their_name() -> None:
    found = sources.mirror_path("https://example.org/a/b%20c.pth", Path("m"))
    assert found == Path("m/example.org/a/b c.pth")


def test_all_missing_files_are_named_at_once(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = tmp_path / "example.org"
    mirror.mkdir()
    (mirror / "file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("VITRINE_MIRROR", str(tmp_path))
    _write_source(project, "https://example.org/", sha256(CONTENT).hexdigest())
    path = project.data / "sources.toml"
    more = "".join(f'"{name}.bin" = "{"0" * 64}"\n' for name in "ab")
    path.write_text(path.read_text() + more)
    with pytest.raises(FileMissing) as caught:
        sources.fetch(project, "here", ["a.bin", "file.bin", "b.bin"])
    assert all(f"{name}.bin does not exist" in caught.value.problem for name in "ab")
    assert (project.cache / "here" / "file.bin").is_file()


def test_a_full_disk_is_no_question_of_rights() -> None:
    for number, said in ((errno.ENOSPC, "Make room on that disk"), (errno.EACCES, "Give yourself")):
        with pytest.raises(Unwritten) as caught, writing("a file"):
            raise OSError(number, "no")
        assert caught.value.remedy.startswith(said)


def test_an_unwritable_cache_is_named(served: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = served.root / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("VITRINE_CACHE", str(blocked))
    _assert_refused(served, "cache folder .* cannot be written", Unwritten)


def test_unknown_sources_and_files_are_answered_with_those_there_are(served: Project) -> None:
    with pytest.raises(SourceError, match=r"no source 'hear'.*Did you mean 'here'"):
        sources.fetch_one(served, "hear", "file.bin")
    with pytest.raises(SourceError, match=r"has no file 'fil.bin'. Did you mean 'file.bin'"):
        sources.fetch_one(served, "here", "fil.bin")


def test_a_missing_file_stops_the_fetch_but_what_came_before_stays(served: Project) -> None:
    with (served.data / "sources.toml").open("a") as stream:
        stream.write(f'"gone.bin" = "{"0" * 64}"\n')
    with pytest.raises(SourceError, match=r"gone\.bin cannot be downloaded"):
        sources.fetch(served, "here", ["file.bin", "gone.bin"])
    assert _leftovers(served) == ["file.bin"]


def test_the_mirror_holds_what_the_registry_says(root: Path, mirror: Path) -> None:
    source = sources.pick_source(Project(root), "imagenet-sample-images")
    assert len(source.digests) == 1000
    for file in list(source.digests)[::50]:
        content = sources.mirror_path(source.url + file, mirror).read_bytes()
        assert sha256(content).hexdigest() == source.digests[file]


def test_the_environment_is_not_needed_for_the_cache(project: Project) -> None:
    assert "VITRINE_CACHE" not in os.environ
    assert project.cache == project.data / "cache"


def test_a_file_that_its_owner_removed_is_not_a_matter_of_the_network(
    served: Project, server: _Server, tmp_path: Path
) -> None:
    (tmp_path / "served" / "file.bin").unlink()
    caught = _assert_refused(served, "answers 404, there is no such file")
    assert "Connect to the network" not in caught.remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("foo = 3", "foo: Input should be a valid dictionary or instance of Source, not 3"),
        ("foo = ", r"sources\.toml cannot be read: Invalid value"),
        ("\xff\xfe", "codec can't decode byte 0xff in position 0: invalid start byte. Correct it"),
        ("[foo]\ntitle = 'T'", "foo.owner: Field required"),
        ("{source}\nfiles = 3", "foo.files: Input should be a valid dictionary, not 3"),
        (
            "{source}\n[foo.files]\na = 'b'",
            r"foo.files.a: String should match .*, not 'b'. .* have a SHA-256 each, or \"pin\"",
        ),
        ("{source}\nregistry = 'nowhere.txt'", r"data/nowhere\.txt cannot be read"),
        (
            "{source}".replace("source", "elsewhere"),
            r"foo.url: String should match .*, not 'example.org'.* a url that ends with /",
        ),
    ],
)
def test_a_mistake_in_the_sources_is_named_with_what_to_do(
    project: Project, text: str, said: str
) -> None:
    row = "[foo]\ntitle='T'\nowner='O'\nurl='{}'\nlicence='L'\nused_for='U'"
    text = text.replace("{source}", row.format("https://example.org/"))
    text = text.replace("{elsewhere}", row.format("example.org"))
    (project.data / "sources.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SourceError, match=said) as caught:
        sources.load_sources(project)
    assert "sources.toml" in caught.value.problem or "nowhere.txt" in caught.value.problem
    assert caught.value.remedy


def test_a_pin_that_cannot_be_noted_is_one_message(project: Project, server: _Server) -> None:
    _write_source(project, server.url, sources.PIN)
    (project.data / "pins").write_text("a file where the folder should be")
    _assert_refused(project, r"data/pins/here/file\.bin cannot be written", Unwritten)


@pytest.mark.parametrize("content", ["", "[1]", "0" * 63])
def test_a_damaged_pin_is_one_message(project: Project, content: str) -> None:
    _write_source(project, "https://example.org/", sources.PIN)
    (project.data / "pins" / "here").mkdir(parents=True)
    (project.data / "pins" / "here" / "file.bin").write_text(content)
    _assert_refused(project, r"data/pins/here/file\.bin is damaged or cannot be read. Restore it")


def test_the_first_of_two_pins_made_at_the_same_time_stays(project: Project) -> None:
    _write_source(project, "https://example.org/", sources.PIN)
    source = sources.pick_source(project, "here")
    for _ in range(2):
        sources._pin(project, source, "file.bin", "1" * 64)
    with pytest.raises(SourceError, match=r"does not have the SHA-256 that data/pins/here/file"):
        sources._pin(project, source, "file.bin", "0" * 64)


def test_where_nothing_may_be_brought_all_that_is_missing_or_damaged_is_named(
    served: Project, server: _Server
) -> None:
    with sources.only_cached("Fetch it"):
        for content, said in ((None, "file.bin of here"), (b"x", r"file.bin \(damaged\) of here")):
            if content:
                path = served.cache / "here" / "file.bin"
                path.parent.mkdir(parents=True)
                path.write_bytes(content)
            with pytest.raises(FileMissing, match=f"not in the cache: {said}. Fetch it"):
                sources.fetch_one(served, "here", "file.bin")
    assert server.asked == []
    path = sources.fetch_one(served, "here", "file.bin")
    with sources.only_cached("Fetch it"):
        assert sources.fetch_one(served, "here", "file.bin") == path


def test_each_source_names_the_networks_whose_weights_it_brings(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VITRINE_CACHE", str(tmp_path))
    asked: list[str] = []

    def refuse(_project: Project, source: str, *_: object) -> None:
        asked.append(source)
        raise SourceError("not now", "later")

    monkeypatch.setattr(sources, "fetch", refuse)
    monkeypatch.setattr(sources, "fetch_one", refuse)
    known = sources.load_sources(Project(root))
    for name, row in CLASSIFIERS.items():
        asked.clear()
        with suppress(SourceError):
            row.weights_file(Project(root))
        assert {*asked} <= {each.name for each in known.values() if name in each.brings}
    for source in known.values():
        assert {*source.brings} <= {*CLASSIFIERS, *ENCODERS, *CONCEPT_LISTS}
