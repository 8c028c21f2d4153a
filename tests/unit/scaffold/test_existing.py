from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fairway.cli.init import command
from fairway.errors import UserError
from fairway.project.load import load_project
from fairway.scaffold import Wishes, add_to_service
from fairway.scaffold.detect import guess_service, with_port
from fairway.targets.config import Binding


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


SERVER = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/alive", "/health") else 404); self.end_headers()
    def do_POST(self):
        assert self.path == "/chat"
http.server.HTTPServer(("127.0.0.1", int(os.environ["FAIRWAY_PORT"])), Handler).serve_forever()
"""


def test_what_is_written_beside_a_service_loads(tmp_path: Path) -> None:
    result = add_to_service(write(tmp_path, server_dot_py=SERVER), name="echo")
    project = load_project(tmp_path)
    assert result.files == (".gitignore", "evals/starter.yaml", "fairway.yaml")
    assert project.agent.name == "echo"
    assert project.service.command == ("python", "server.py")
    assert (project.service.health, project.service.ready, project.service.chat) == ("/health", "/health", "/chat")
    assert project.service.binding is Binding.NONE
    assert any("taken from server.py" in note for note in result.notes)
    assert any("FAIRWAY_PORT" in note for note in result.notes)


@pytest.mark.parametrize(("git", "first"), [("git", ["git init"]), (None, ["install git first", "git init"])])
def test_without_a_repository_the_next_steps_begin_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git: str | None, first: list[str]
) -> None:
    monkeypatch.setattr("fairway.scaffold.existing.find_git", lambda: git)
    result = add_to_service(tmp_path, name="shop", wishes=Wishes(command="python app.py {port}"))
    assert [*result.next_steps[: len(first) + 1]] == [*first, "git add -A && git commit -m 'Add Fairway'"]


def test_what_a_person_says_wins(tmp_path: Path) -> None:
    wishes = Wishes(command="./run --port {port} --name 'a b'", health="/alive", ready="/up", chat="/talk")
    add_to_service(write(tmp_path, server_dot_py=SERVER), wishes=wishes)
    service = load_project(tmp_path).service
    assert service.command == ("./run", "--port", "{port}", "--name", "a b")
    assert (service.health, service.ready, service.chat) == ("/alive", "/up", "/talk")


@pytest.mark.parametrize(
    "line", ["node 'my server.js' # x", 'sh -c "PORT={port} exec a: b"', "./a --x={port} --y=[1,2] & wait", "a 'ü{}'"]
)
def test_any_command_survives_being_written(tmp_path: Path, line: str) -> None:
    add_to_service(tmp_path, wishes=Wishes(command=line))
    assert load_project(tmp_path).service.command


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    write(tmp_path, server_dot_py=SERVER, evals__starter_dot_yaml="mine", _dot_gitignore="*.log")
    result = add_to_service(tmp_path)
    assert (tmp_path / "evals" / "starter.yaml").read_text() == "mine"
    assert (tmp_path / ".gitignore").read_text() == "*.log\n.fairway/\n"
    assert any("left as it is" in note for note in result.notes)
    before = (tmp_path / "fairway.yaml").read_text()
    with pytest.raises(UserError, match="there already"):
        add_to_service(tmp_path)
    assert (tmp_path / "fairway.yaml").read_text() == before


def test_an_ignore_file_that_knows_the_folder_is_not_touched(tmp_path: Path) -> None:
    write(tmp_path, server_dot_py=SERVER, _dot_gitignore="/.fairway\n")
    assert ".gitignore" not in add_to_service(tmp_path).files


def test_what_an_ignore_file_holds_stays_byte_for_byte(tmp_path: Path) -> None:
    write(tmp_path, server_dot_py=SERVER)
    (tmp_path / ".gitignore").write_bytes(b"*.log\r\nk\xe4se\r\n")
    add_to_service(tmp_path)
    assert (tmp_path / ".gitignore").read_bytes() == b"*.log\r\nk\xe4se\r\n.fairway/\n"


def test_a_service_nobody_can_guess_asks_for_the_command_and_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path, notes_dot_txt="hello")
    with pytest.raises(UserError, match="how the service is started") as caught:
        add_to_service(tmp_path)
    assert "--command" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("wishes", [Wishes(command="a", health="health"), Wishes(command="a", chat="/c d")])
def test_a_path_that_is_none_is_refused(tmp_path: Path, wishes: Wishes) -> None:
    with pytest.raises(UserError, match="not a path"):
        add_to_service(tmp_path, wishes=wishes)


@pytest.mark.parametrize("line", ["", "  ", "a 'b"])
def test_a_command_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match="command"):
        add_to_service(tmp_path, wishes=Wishes(command=line))


def test_when_writing_fails_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, server_dot_py=SERVER)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "chmod", full)
    with pytest.raises(OSError, match="No space"):
        add_to_service(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["server.py"]


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"Procfile": "web: gunicorn app:app -b 0.0.0.0:$PORT\n"}, ("gunicorn", "app:app", "-b", "0.0.0.0:{port}")),
        ({"package_dot_json": '{"scripts": {"start": "node x"}}'}, ("sh", "-c", "PORT={port} exec npm start --silent")),
        ({"package_dot_json": '{"scripts": {"test": "x"}}'}, None),
        ({"package_dot_json": "[1"}, None),
        ({"Dockerfile": 'FROM x\nCMD ["uvicorn", "a:b", "--port", "80"]'}, ("uvicorn", "a:b", "--port", "{port}")),
        ({"Dockerfile": 'ENTRYPOINT ["./srv"]\nCMD ["-p", "8080"]'}, ("./srv", "-p", "{port}")),
        ({"Dockerfile": "CMD node server.js"}, ("sh", "-c", "PORT={port} exec node server.js")),
        ({"Dockerfile": "CMD migrate && serve --port 8000"}, ("sh", "-c", "migrate && serve --port {port}")),
        ({"go_dot_mod": "module x"}, ("sh", "-c", "PORT={port} exec go run .")),
        (
            {"app__main_dot_py": "from fastapi import FastAPI\napi = FastAPI()\n"},
            ("python", "-m", "uvicorn", "app.main:api", "--host", "{host}", "--port", "{port}"),
        ),
        (
            {"src__svc__web_dot_py": "app: FastAPI = FastAPI(title='x')\n"},
            ("python", "-m", "uvicorn", "svc.web:app", "--app-dir", "src", "--host", "{host}", "--port", "{port}"),
        ),
        (
            {"wsgi_dot_py": "app = Flask(__name__)\n"},
            ("python", "-m", "flask", "--app", "wsgi", "run", "--host", "{host}", "--port", "{port}"),
        ),
        ({"manage_dot_py": ""}, ("python", "manage.py", "runserver", "--noreload", "{host}:{port}")),
        ({"main_dot_py": "web.run_app(app, port=int(sys.argv[1]))"}, ("python", "main.py", "{port}")),
        ({"main_dot_py": "add('--port'); web.run_app(app)"}, ("python", "main.py", "--port", "{port}")),
        ({"main_dot_py": "web.run_app(app, port=getenv('PORT'))"}, ("sh", "-c", "PORT={port} exec python main.py")),
        ({"node_modules__x_dot_py": "app = FastAPI()"}, None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_common_layouts_are_recognised(tmp_path: Path, files: dict[str, str], command: tuple[str, ...] | None) -> None:
    assert guess_service(write(tmp_path, **files)).command == command


@pytest.mark.parametrize(
    ("files", "stage"),
    [
        ({"readme_dot_md": "x"}, {"enabled": False, "reason": "no tests yet"}),
        ({"tests__test_a_dot_py": ""}, {"coverage": {"total": "0%", "module": "0%"}}),
        ({"pkg__a_test_dot_py": ""}, {"coverage": {"total": "0%", "module": "0%"}}),
        ({"package_dot_json": '{"scripts": {"test": "jest"}}'}, {"command": ["npm", "test", "--silent"]}),
        (
            {"package_dot_json": '{"scripts": {"test": "echo Error: no test specified && exit 1"}}'},
            {"enabled": False, "reason": "no tests yet"},
        ),
        ({"go_dot_mod": "module x"}, {"command": ["go", "test", "./..."]}),
        ({"Cargo_dot_toml": "[package]"}, {"command": ["cargo", "test"]}),
        ({"Makefile": "test: all\n\tx"}, {"command": ["make", "test"]}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_tests_that_are_there_are_run_and_missing_ones_are_said(
    tmp_path: Path, files: dict[str, str], stage: dict[str, object]
) -> None:
    result = add_to_service(write(tmp_path, **files), wishes=Wishes(command="./x {port}"))
    assert load_project(tmp_path).pipeline.stages["unit_test"] == stage
    assert any("unit_test is off" in note for note in result.notes) == ("enabled" in stage)


def test_paths_are_found_in_sources_of_any_language(tmp_path: Path) -> None:
    write(tmp_path, main_dot_go='mux.HandleFunc("/healthz", h); mux.HandleFunc("/readyz", r); mux.Handle("/api/chat")')
    guess = guess_service(tmp_path)
    assert (guess.health, guess.ready, guess.chat) == ("/healthz", "/readyz", "/api/chat")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("serve --port={port}", ("serve", "--port={port}")),
        ("serve --port=8000", ("serve", "--port={port}")),
        ("serve -b 127.0.0.1:9000", ("serve", "-b", "127.0.0.1:{port}")),
        ("A=1 serve -p 80", ("sh", "-c", "A=1 serve -p {port}")),
        ("cd x && serve", ("sh", "-c", "PORT={port}; export PORT; cd x && serve")),
    ],
)
def test_a_fixed_port_becomes_the_one_given(line: str, words: tuple[str, ...]) -> None:
    assert with_port(line) == words


def test_the_command_speaks_json_and_notes_go_to_stderr(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        command, [str(tmp_path), "--template", "existing", "--command", "./x --port {port}", "-o", "json"]
    )
    assert json.loads(result.stdout)["template"] == "existing"
    assert "check service.health" in result.stderr
    assert yaml.safe_load((tmp_path / "fairway.yaml").read_text())["service"]["command"] == ["./x", "--port", "{port}"]
    assert isinstance(
        CliRunner().invoke(command, [str(tmp_path / "no"), "--template", "existing"]).exception, UserError
    )
