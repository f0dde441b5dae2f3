"""Files that a model names and files that are written: no way around, and never half a file, whatever fails when."""

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from documents import KILLED_AT, linreg

import graphengine as ge
from graphengine.errors import DataError, GraphEngineError
from graphengine.format import files, paths
from graphengine.format.files import appending, check_target, write_bytes
from graphengine.format.paths import confined

ROOT = Path(__file__).parents[1]


@pytest.fixture(params=["within open folders", "by full names"])
def _both_systems(request, monkeypatch):
    """As on systems that open a name within an open folder, and as on those that do not."""
    if request.param == "by full names":
        monkeypatch.setattr(paths, "_WITHIN", False)
        monkeypatch.setattr(files, "_WITHIN", False)


both_systems = pytest.mark.usefixtures("_both_systems")


@pytest.fixture
def folder(tmp_path):
    """A model's folder with a data file, beside a folder with a secret."""
    (tmp_path / "model" / "data").mkdir(parents=True)
    (tmp_path / "model" / "data" / "d.csv").write_text("inside")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "model"


def read(folder, name):
    with confined(folder, name).open(encoding="utf-8") as file:
        return file.read()


def refused(folder, name):
    """Code and message of the refusal; no descriptor is left open by it."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(DataError) as caught:
        read(folder, name)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    return caught.value.problems[0].code, caught.value.problems[0].message


# ---------------------------------------------------------------- reading


@both_systems
@pytest.mark.parametrize("name", ["data/d.csv", "./data/./d.csv", "data//d.csv"])
def test_a_plain_file_in_the_folder_is_read(folder, name):
    assert read(folder, name) == "inside"
    assert str(confined(folder, name)) == str(folder / name)


NAMES = ["", ".", "..", "/etc/passwd", "//etc/passwd", "../secret", "data/../../secret", "data\\d.csv", "C:d.csv"]
NAMES += ["C:/d.csv", "~/d.csv", "d.csv\x00", "\x00", "d\n.csv", "http://localhost/d.csv", "file:///etc/passwd"]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_is_not_plain_and_relative_is_refused_before_anything_is_opened(folder, name, monkeypatch):
    monkeypatch.setattr(os, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(DataError, match=r"GE504: .* is not a plain relative path"):
        confined(folder, name)


def link_the_file(folder):
    (folder / "data" / "d.csv").unlink()
    (folder / "data" / "d.csv").symlink_to(folder.parent / "secret")


def link_the_folder(folder):
    (folder / "data").rename(folder / "real")
    (folder / "data").symlink_to("real")


def link_hard(folder):
    (folder / "data" / "d.csv").unlink()
    (folder / "data" / "d.csv").hardlink_to(folder.parent / "secret")


def make_a_pipe(folder):
    (folder / "data" / "d.csv").unlink()
    os.mkfifo(folder / "data" / "d.csv")


def make_a_socket(folder):
    (folder / "data" / "d.csv").unlink()
    before = Path.cwd()
    os.chdir(folder / "data")  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("d.csv")
    finally:
        os.chdir(before)


def make_a_folder(folder):
    (folder / "data" / "d.csv").unlink()
    (folder / "data" / "d.csv").mkdir()


def make_the_folder_a_file(folder):
    shutil.rmtree(folder / "data")
    (folder / "data").write_text("x")


def remove(folder):
    (folder / "data" / "d.csv").unlink()


@both_systems
@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (link_the_file, "GE504", "goes through a symbolic link"),
        (link_the_folder, "GE504", "goes through a symbolic link"),
        (link_hard, "GE504", "is a hard link"),
        (make_a_pipe, "GE504", "is not a plain file"),
        (make_a_socket, "GE504", "is not a plain file"),
        (make_a_folder, "GE504", "is not a plain file"),
        (make_the_folder_a_file, "GE501", "Not a directory"),
        (remove, "GE501", "No such file"),
    ],
)
def test_what_is_no_plain_file_is_refused_before_it_is_opened(folder, change, code, message, monkeypatch):
    change(folder)
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda name, *rest, **named: opened.append(str(name)) or real(name, *rest, **named))
    found = refused(folder, "data/d.csv")
    assert found[0] == code
    assert message in found[1]
    assert not any(name.endswith("d.csv") for name in opened)


def exchange_by_another_file(folder):
    (folder / "data" / "other").write_text("other")
    (folder / "data" / "other").replace(folder / "data" / "d.csv")


@both_systems
@pytest.mark.parametrize(
    "change", [link_the_file, link_hard, make_a_pipe, make_a_folder, remove, exchange_by_another_file]
)
def test_a_file_that_is_exchanged_between_the_look_and_the_opening_is_refused(folder, change, monkeypatch):
    real = os.open

    def exchanged(name, *rest, **named):
        if str(name).endswith("d.csv"):
            change(folder)
        return real(name, *rest, **named)

    monkeypatch.setattr(os, "open", exchanged)
    assert refused(folder, "data/d.csv")[0] in ("GE501", "GE504")


@pytest.mark.parametrize("change", [link_the_folder, make_the_folder_a_file])
def test_a_folder_that_is_exchanged_between_the_look_and_the_opening_is_refused(folder, change, monkeypatch):
    real = os.open

    def exchanged(name, *rest, **named):
        if str(name) == "data":
            change(folder)
        return real(name, *rest, **named)

    monkeypatch.setattr(os, "open", exchanged)
    assert refused(folder, "data/d.csv")[0] in ("GE501", "GE504")


def test_files_of_the_package_may_be_hard_links_because_installers_make_them(folder, monkeypatch):
    link_hard(folder)
    monkeypatch.setattr(paths, "PACKAGE", folder)
    assert read(folder, "data/d.csv") == "secret"


def test_a_model_in_a_folder_that_is_a_link_is_the_users_own_choice(folder):
    (folder.parent / "link").symlink_to(folder)
    assert read(folder.parent / "link", "data/d.csv") == "inside"


# ---------------------------------------------------------------- writing

STEPS = ("open", "stat", "fchmod", "write", "fsync", "replace")
STEPS_OF_ADDING = ("open", "stat", "fstat", "read", "lseek", "write")


class FailingSystem:
    """Counts the calls of the system that a write makes, and lets one of them fail."""

    def __init__(self, monkeypatch, failing=None, code=errno.EIO, steps=STEPS):
        self.calls, self.failing, self.code = [], failing, code
        for name in steps:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name, real):
        def called(*arguments, **named):
            self.calls.append(name)
            if len(self.calls) - 1 == self.failing:
                raise OSError(self.code, os.strerror(self.code))
            return real(*arguments, **named)

        return called


@both_systems
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
def test_a_write_that_fails_at_any_step_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path, code):
    path = tmp_path / "m.json"
    path.write_bytes(b"old")
    with pytest.MonkeyPatch.context() as patch:
        steps = FailingSystem(patch)
        write_bytes(path, b"old")
    assert {"open", "stat", "write", "fsync", "replace"} <= set(steps.calls)
    replaced = steps.calls.index("replace")
    for step in range(len(steps.calls)):
        with pytest.MonkeyPatch.context() as patch:
            FailingSystem(patch, step, code)
            with pytest.raises(GraphEngineError) as caught:
                write_bytes(path, b"new")
        assert str(caught.value) == f"{path}: GE101: cannot write the file: {os.strerror(code)}"
        assert path.read_bytes() == (b"old" if step <= replaced else b"new")
        assert list(tmp_path.iterdir()) == [path]
        path.write_bytes(b"old")


@both_systems
@pytest.mark.parametrize("taken", [1, 3, 7])
def test_a_system_that_takes_a_few_bytes_at_a_time_gets_all_of_them(tmp_path, monkeypatch, taken):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:taken]))
    write_bytes(tmp_path / "m.json", bytes(range(100)))
    assert (tmp_path / "m.json").read_bytes() == bytes(range(100))


KILLED = """
import sys
from pathlib import Path
from graphengine.format.files import write_bytes

path, steps = Path(sys.argv[1]), sys.argv[2].split(",")
for last in range(100):
    path.write_bytes(b"old")
    killed = killed_child(lambda: write_bytes(path, b"new" * 1000), last, steps)
    print(path.read_bytes()[:3].decode(), len(path.read_bytes()), killed)
    if not killed:
        break
"""


def test_a_process_that_is_killed_at_any_step_leaves_the_old_or_the_new_file_whole(tmp_path):
    command = [sys.executable, "-c", KILLED_AT + KILLED, str(tmp_path / "m.json"), ",".join(STEPS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    lines = done.stdout.splitlines()
    assert set(lines[:-1]) == {"old 3 True", "new 3000 True"}
    assert len(lines) > len(STEPS)
    assert lines == [*sorted(lines[:-1], reverse=True), "new 3000 False"]


@both_systems
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_written_over(tmp_path, kind):
    path, target = tmp_path / "m.json", tmp_path / "target"
    target.write_bytes(b"old")
    {"link": lambda: path.symlink_to(target), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    for refusing in (check_target, lambda path: write_bytes(path, b"new"), lambda path: add(path, b"new")):
        with pytest.raises(GraphEngineError, match=r"m\.json: GE504: the path is (a symbolic|not a plain)"):
            refusing(path)
    assert target.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [path, target]


@both_systems
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\x00b", "GE101: cannot write the file: .*null (byte|character)"),
        ("n" * 300, "GE101: cannot write the file: File name too long"),
        ("nowhere/m.json", "GE101: cannot write the file: there is no folder '.*nowhere'"),
        ("", "GE504: the path is not a plain file"),
        ("..", "GE504: the path is not a plain file"),
    ],
)
def test_a_name_that_cannot_be_written_is_a_located_error_and_is_known_before(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / name):
        for refusing in (check_target, lambda path: write_bytes(path, b""), lambda path: add(path, b"")):
            with pytest.raises(GraphEngineError, match=message):
                refusing(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give a file away")
def test_the_owner_of_a_file_stays_when_root_writes_it_anew(tmp_path):
    path = tmp_path / "m.json"
    path.write_bytes(b"old")
    path.chmod(0o640)
    os.chown(path, 1234, 2345)
    write_bytes(path, b"new")
    seen = path.stat()
    assert (seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode)) == (1234, 2345, 0o640)
    assert path.read_bytes() == b"new"
    write_bytes(tmp_path / "other", b"new")
    assert (tmp_path / "other").stat().st_uid == 0


def test_an_owner_that_cannot_be_kept_does_not_keep_a_file_from_being_written(tmp_path, monkeypatch):
    path = tmp_path / "m.json"
    path.write_bytes(b"old")
    path.chmod(0o640)
    tried, real = [], os.fstat

    def of_another(descriptor):
        seen = real(descriptor)
        return os.stat_result((*seen[:4], seen.st_uid + 1, seen.st_gid + 1, *seen[6:10]))

    def refused(descriptor, user, group):
        tried.append((user, group))
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fstat", of_another)
    monkeypatch.setattr(os, "fchown", refused)
    write_bytes(path, b"new")
    monkeypatch.undo()
    assert tried == [(-1, path.stat().st_gid), (path.stat().st_uid, -1)]
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o640)


@both_systems
def test_what_can_be_written_is_no_problem_and_looking_makes_nothing(tmp_path):
    check_target(tmp_path / "new.json")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old.json").write_bytes(b"old")
    check_target(tmp_path / "old.json")
    assert (tmp_path / "old.json").read_bytes() == b"old"


@both_systems
def test_a_folder_without_permission_is_known_before(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (tmp_path, os.W_OK))
    with pytest.raises(GraphEngineError, match=r"m\.json: GE101: cannot write the file: Permission denied"):
        check_target(tmp_path / "m.json")


def message_of(call):
    """What an error says; None if there is none."""
    try:
        call()
    except GraphEngineError as error:
        return str(error)
    return None


def add(path, *lines):
    with appending(path, lambda line: line == b"own") as added:
        for line in lines:
            added(line)


@both_systems
@pytest.mark.parametrize("last", [None, b"", b"own\n", b"own\nmore\n", b"own", b"own\nhalf a li"])
def test_a_line_is_added_behind_whole_lines(tmp_path, last):
    path = tmp_path / "log"
    if last is not None:
        path.write_bytes(last)
    add(path, b"a", b"b")
    last = last or b""
    assert path.read_bytes() == last + b"\n" * (last[-1:] not in (b"", b"\n")) + b"a\nb\n"


@both_systems
@pytest.mark.parametrize("kind", ["another kind", "another kind without an end", "hard link", "exchanged"])
def test_nothing_is_added_to_what_is_not_the_callers_own(tmp_path, monkeypatch, kind):
    path, other, real = tmp_path / "log", tmp_path / "other", os.open
    path.write_bytes({"another kind": b"other\n", "another kind without an end": b"own" * 2**16}.get(kind, b"own\n"))
    other.write_bytes(b"own\nsecret\n")

    def exchanged(name, *rest, **named):
        if str(name).endswith("log"):
            path.unlink()
            path.hardlink_to(other)
        return real(name, *rest, **named)

    if kind == "hard link":
        path.unlink()
        path.hardlink_to(other)
    if kind == "exchanged":
        monkeypatch.setattr(os, "open", exchanged)
    before = {each: each.read_bytes() for each in (path, other)}
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(
        GraphEngineError, match=r"log: GE504: the path (names a file that is not a log|is a hard|was repl)"
    ):
        add(path, b"new")
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files
    assert other.read_bytes() == before[other]
    assert kind == "exchanged" or path.read_bytes() == before[path]


@both_systems
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS])
def test_adding_that_fails_at_any_step_leaves_whole_lines(tmp_path, code):
    path = tmp_path / "log"

    def write_half(descriptor, data):
        return real(descriptor, data[: max(1, len(data) // 2)])

    real, step, failed = os.write, 0, "not yet"
    while failed:
        path.write_bytes(b"own\nhalf")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", write_half)
            steps = FailingSystem(patch, step, code, STEPS_OF_ADDING)
            failed = message_of(lambda: add(path, b"first", b"second"))
        assert failed in (None, f"{path}: GE101: cannot write the file: {os.strerror(code)}")
        whole = [b"own\nhalf", b"\n", b"first\n", b"second\n"]
        assert path.read_bytes() in [b"".join(whole[: count + 1]) for count in range(4)]
        step += 1
    assert path.read_bytes() == b"own\nhalf\nfirst\nsecond\n"
    assert set(STEPS_OF_ADDING) == set(steps.calls)


def test_two_writers_never_mix(tmp_path):
    code = (
        "import sys; from pathlib import Path; from graphengine.format.files import write_bytes\n"
        "for _ in range(50): write_bytes(sys.argv[1], sys.argv[2].encode() * 10000)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    write_bytes(tmp_path / "m.json", b"a" * 10000)
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "m.json"), letter], env=environment)
        for letter in "ab"
    ]
    while any(each.poll() is None for each in running):
        assert (tmp_path / "m.json").read_bytes() in (b"a" * 10000, b"b" * 10000)
    assert [each.returncode for each in running] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


def test_saving_a_model_goes_this_way(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    for save in (ge.Model.from_dict(linreg()).save, ge.Model.from_dict(linreg()).graph.save):
        with pytest.raises(GraphEngineError, match="GE101: cannot write the file: No space left on device"):
            save(tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []
