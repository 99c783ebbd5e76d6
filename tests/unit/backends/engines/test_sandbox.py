"""What an instance in a sandbox sees of the machine, and what becomes of a server without one."""

import json
import os
import pwd
import shutil
import stat
import sys
import venv
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.engines import pipeline, process_engine, sandbox_of, seen_by, spec
from tests.support.model_objects import ModelObjects, archive_of

from tarry.backends.engines import bubblewrap
from tarry.backends.engines.bubblewrap import Bubblewrap
from tarry.backends.engines.homes import Home
from tarry.backends.engines.launching import Program, User, launch
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.engines.sandbox import NoSandbox, choose_sandbox
from tarry.backends.interpreters import interpreter_paths
from tarry.core.catalog import ModelDataSource
from tarry.core.errors import InvalidRequest

MODEL = "s3://bucket/model.tar.gz"
WRITABLE = """
import os
def writable(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    except OSError:
        return False
    return True
"""
READABLE = """
def readable(path):
    try:
        return bool(open(path).read())
    except OSError:
        return False
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED HERE: needs root")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory, and a home of the server's user beside it that holds secrets."""
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/credentials").write_text("secret")
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/credentials").write_text("secret")
    return tmp_path / "data"


@pytest.fixture
async def engine(data: Path) -> AsyncIterator[ProcessEngine]:
    objects = ModelObjects({MODEL: archive_of({"weights.txt": b"42"})})
    engine = process_engine(data, objects, sandbox=await sandbox_of("bubblewrap", data))
    await engine.open()
    yield engine
    await engine.close(grace_s=1)


async def test_opt_ml_is_there_and_the_model_in_it_is_read_only(engine: ProcessEngine) -> None:
    [address] = await engine.start(spec(url=MODEL))
    seen = await seen_by(
        address,
        WRITABLE + "weights = '/opt/ml/model/weights.txt'\n"
        "seen = [open(weights).read(), writable(weights), writable('/opt/ml/model/new'),"
        " writable('/opt/ml/new'), os.getcwd(), os.environ['HOME']]",
    )
    assert seen == ["42", False, False, True, "/home/model-server", "/home/model-server"]


async def test_without_model_data_the_model_directory_is_the_images_own(engine: ProcessEngine) -> None:
    [address] = await engine.start(spec())
    assert await seen_by(address, WRITABLE + "seen = writable('/opt/ml/model/downloaded')")


async def test_etc_and_tmp_are_copies_of_its_own(engine: ProcessEngine) -> None:
    [one] = await engine.start(spec("i-1"))
    [two] = await engine.start(spec("i-2"))
    paths = ("/etc/sagemaker-ts.properties", "/tmp/tarry-sandbox-test", "/var/tmp/tarry-sandbox-test")
    for path in paths:
        assert await seen_by(one, f"{WRITABLE}\nseen = writable({path!r})")
        assert not await seen_by(two, f"import os\nseen = os.path.exists({path!r})")
        assert not Path(path).exists()
    assert await seen_by(one, "seen = open('/etc/passwd').read()") == Path("/etc/passwd").read_text()


async def test_containers_of_a_pipeline_are_known_by_name(engine: ProcessEngine) -> None:
    first, _ = await engine.start(pipeline(2))
    names = "['container-1', 'container-2']"
    assert await seen_by(first, f"import socket; seen = [socket.gethostbyname(n) for n in {names}]") == ["127.0.0.1"] * 2


async def test_it_sees_its_own_processes_only(engine: ProcessEngine) -> None:
    [address] = await engine.start(spec("i-1"))
    await engine.start(spec("i-2"))
    seen = await seen_by(
        address, "import os; seen = [open(f'/proc/{p}/cmdline').read() for p in os.listdir('/proc') if p.isdigit()]"
    )
    assert [command for command in seen if "bwrap" not in command] == [f"{sys.executable}\0{seen[-1].split(chr(0))[1]}\0"]
    assert len(seen) == 2


async def test_secrets_are_out_of_sight(engine: ProcessEngine, data: Path) -> None:
    [address] = await engine.start(spec())
    hidden = [
        data / "credentials",
        data / "engine-token",
        data / "instances",
        data / "logs",
        Path.home() / ".aws",
        Path("/etc/shadow"),
        Path("/run/docker.sock"),
        Path("/root/.ssh"),
    ]
    seen = await seen_by(
        address, f"import os; seen = [path for path in {[str(path) for path in hidden]} if os.path.exists(path)]"
    )
    assert seen == []


async def test_the_system_is_read_only_and_no_privilege_is_left(engine: ProcessEngine) -> None:
    """Files are opened, never written: were they not protected, this would not hurt."""
    [address] = await engine.start(spec())
    paths = ["/usr/new", "/var/new", "/new", "/opt/new", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname"]
    assert await seen_by(address, f"{WRITABLE}\nseen = [path for path in {paths} if writable(path)]") == []
    status = await seen_by(address, "seen = open('/proc/self/status').read()")
    values = dict(line.split(":\t", 1) for line in status.splitlines())
    assert (int(values["CapEff"], 16), int(values["CapPrm"], 16), values["NoNewPrivs"]) == (0, 0, "1")


async def test_an_interpreter_in_a_hidden_place_is_shown_with_the_links_that_lead_to_it(data: Path) -> None:
    """Its environment lies in the home directory, and is reached over a link to another directory there."""
    await sandbox_of("bubblewrap", data)
    venv.create(Path.home() / "real/environment")
    (Path.home() / "link").symlink_to("real")
    python = Path.home() / "link/environment/bin/python"
    sandbox = Bubblewrap(Path("/usr/bin/bwrap"), data)
    sandbox.open()
    home = Home(root=data / "instances/i-1/0", needed=interpreter_paths(python))
    sandbox.make(home)
    code = "import sys, json, os; print(json.dumps([sys.prefix, sorted(os.listdir(os.environ['HIDDEN']))]))"
    program = Program(command=(str(python), "-c", code), environment={"HIDDEN": str(Path.home())})
    process = await launch(program, marks={}, wrapped=sandbox.wrapped(home), stdout=-1)
    said, _ = await process.communicate()
    assert json.loads(said) == [str(Path.home() / "link/environment"), ["link", "real"]]


async def test_additional_model_data_are_read_only_too(engine: ProcessEngine) -> None:
    wanted = spec(url=MODEL)
    channels = {"lora": ModelDataSource(s3_uri=MODEL)}
    [address] = await engine.start(replace(wanted, containers=(replace(wanted.containers[0], additional_model_data=channels),)))
    seen = await seen_by(
        address,
        WRITABLE + "channel = '/opt/ml/additional-model-data-sources/lora/'\n"
        "seen = [open(channel + 'weights.txt').read(), writable(channel + 'weights.txt'), writable(channel + 'new')]",
    )
    assert seen == ["42", False, False]


async def test_shared_memory_and_message_queues_are_its_own(engine: ProcessEngine) -> None:
    [one] = await engine.start(spec("i-1"))
    [two] = await engine.start(spec("i-2"))
    ask = "import os; seen = os.readlink('/proc/self/ns/ipc')"
    assert len({await seen_by(one, ask), await seen_by(two, ask), str(Path("/proc/self/ns/ipc").readlink())}) == 3


@as_root
async def test_what_of_the_kernel_listens_to_any_root_is_mounted_read_only(engine: ProcessEngine) -> None:
    [address] = await engine.start(spec())
    there = [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger") if Path("/proc", name).exists()]
    assert "/proc/sys" in there
    code = f"import os; seen = [path for path in {there} if not os.statvfs(path).f_flag & os.ST_RDONLY]"
    assert await seen_by(address, code) == []


def test_of_a_directory_only_what_everybody_may_read_is_copied(tmp_path: Path) -> None:
    """A private directory hides what lies in it, whatever the modes of that."""
    source = tmp_path / "etc"
    for folder in ("public", "private", "listed-only"):
        (source / folder).mkdir(parents=True)
        (source / folder / "file").write_text(folder)
    (source / "private").chmod(0o700)
    (source / "listed-only").chmod(0o704)
    (source / "key").write_text("secret")
    (source / "key").chmod(0o640)
    bubblewrap._copy_public(source, tmp_path / "copy")
    copied = {str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*")}
    assert copied == {"public", "public/file"}


async def test_what_of_etc_changes_is_as_it_is_when_the_instance_starts(data: Path) -> None:
    """Another name server, another address in /etc/hosts: a server that runs for months hands on those of today."""
    sandbox = Bubblewrap(Path("/usr/bin/bwrap"), data)
    sandbox.open()
    for name in ("hosts", "resolv.conf"):
        (data / "sandbox/etc" / name).write_text("127.0.0.1 of-long-ago\n")
    home = Home(root=data / "instances/i-1/0")
    sandbox.make(home)
    for name in ("hosts", "resolv.conf"):
        assert (home.root / "etc" / name).read_bytes() == Path("/etc", name).read_bytes()
    assert stat.S_IMODE((home.root / "tmp").stat().st_mode) == 0o1777


async def test_secrets_in_places_that_it_sees_are_covered(data: Path) -> None:
    await sandbox_of("bubblewrap", data)
    sandbox = await choose_sandbox("bubblewrap", None, data, [Path("/usr/share"), Path("/etc/passwd")])
    engine = process_engine(data, sandbox=sandbox)
    await engine.open()
    try:
        [address] = await engine.start(spec())
        assert await seen_by(address, "import os; seen = os.listdir('/usr/share')") == []
        assert await seen_by(address, READABLE + "seen = readable('/etc/hosts'), readable('/etc/passwd')") == [True, False]
    finally:
        await engine.close(grace_s=1)


@as_root
async def test_an_instance_becomes_the_user_that_the_settings_name(data: Path) -> None:
    await sandbox_of("bubblewrap", data)
    sandbox = await choose_sandbox("bubblewrap", "nobody", data)
    engine = process_engine(data, ModelObjects({MODEL: archive_of({"weights.txt": b"42"})}), sandbox=sandbox)
    await engine.open()
    try:
        [address] = await engine.start(spec(url=MODEL))
        seen = await seen_by(
            address,
            WRITABLE + "places = ['/opt/ml/n', '/tmp/n', '/etc/n', '/etc/hosts', os.environ['HOME'] + '/n']\n"
            "seen = [os.getresuid(), os.getgroups(), [one for one in places if not writable(one)],"
            " open('/opt/ml/model/weights.txt').read(), writable('/opt/ml/model/n')]",
        )
        user = pwd.getpwnam("nobody")
        assert seen == [[user.pw_uid] * 3, [user.pw_gid], [], "42", False]
        # The model's files are hard links of what all instances share: whoever owned them could change them for all.
        assert {path.stat().st_uid for path in (data / "models").rglob("*")} == {0}
    finally:
        await engine.close(grace_s=1)
    assert not (data / "instances/i-1").exists()


async def test_without_bubblewrap_there_is_one_warning_or_no_server(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with capture_logs() as logs:
        assert isinstance(await choose_sandbox("auto", None, data), NoSandbox)
    [warning] = [one for one in logs if one["log_level"] == "warning"]
    assert "not installed" in warning["reason"]
    assert "apt-get install bubblewrap" in warning["advice"]
    assert "keys, data, other instances" in warning["consequence"]
    assert "may outlive it" in warning["consequence"]
    with pytest.raises(InvalidRequest, match=r"but bubblewrap \(bwrap\) is not installed. Install bubblewrap"):
        await choose_sandbox("bubblewrap", None, data)


async def test_a_bubblewrap_that_may_not_make_namespaces_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = data / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{data}:{os.environ['PATH']}")
    with pytest.raises(InvalidRequest, match=r"it does not work here \(bwrap: No permissions to create new namespace\)"):
        await choose_sandbox("bubblewrap", None, data)


async def test_none_is_none(data: Path) -> None:
    assert isinstance(await choose_sandbox("none", None, data), NoSandbox)


@as_root
async def test_instances_that_are_root_are_told(data: Path) -> None:
    await sandbox_of("bubblewrap", data)
    with capture_logs() as logs:
        await choose_sandbox("auto", None, data)
        await choose_sandbox("auto", "nobody", data)
    assert ["[engine] user" in one["advice"] for one in logs] == [True]


@as_root
async def test_another_user_needs_the_sandbox_and_has_to_exist(data: Path) -> None:
    with pytest.raises(InvalidRequest, match="needs the sandbox"):
        await choose_sandbox("none", "nobody", data)
    with pytest.raises(InvalidRequest, match="no user 'nobody-like-this'"):
        await choose_sandbox("auto", "nobody-like-this", data)
    with pytest.raises(InvalidRequest, match="'root' is root"):
        await choose_sandbox("auto", "root", data)


@as_root
async def test_a_fork_bomb_stops_at_the_limit_of_its_user(data: Path) -> None:
    """Of a user that nobody else is: other processes of one count, too."""
    await sandbox_of("bubblewrap", data)
    user = User(name="nobody-else", uid=54321, gid=54321, groups=(54321,))
    sandbox = Bubblewrap(Path(shutil.which("bwrap") or ""), data, user=user)
    home = Home(root=data / "instances/i-1/0", needed=interpreter_paths(Path(sys.executable)))
    sandbox.open()
    sandbox.make(home)
    sandbox.hand_over(home)
    fork = "import os, signal\ncount = 0\ntry:\n while os.fork(): count += 1\n signal.pause()\n"
    code = f"{fork}except BlockingIOError:\n print(count, flush=True)\n os.killpg(0, signal.SIGKILL)"
    program = Program(command=(sys.executable, "-I", "-c", code), environment={}, user=user, processes_max=20)
    process = await launch(program, marks={}, wrapped=sandbox.wrapped(home), stdout=-1, start_new_session=True)
    said, _ = await process.communicate()
    assert int(said) == 19
