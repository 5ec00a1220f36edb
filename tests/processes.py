"""Python programs as processes of their own that need not import torch and transformers anew.

A server, one for each worker of the tests, has imported them once, has computed nothing, and forks for every program.
The child takes over the arguments, the folder, the environment and the three standard files of the call, runs the
program and ends as any Python does. What a library reads from the environment while it is imported is the worker's.
Tests of what happens at the start itself start ``sys.executable``.
"""

import atexit
import gc
import json
import os
import runpy
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

FORKS = sys.platform == "linux"
ROOT = Path(__file__).parent.parent
IMPORTED = (
    "bauklens.cli.commands",
    "bauklens.lens.lens",
    "bauklens.model.loading",
    "bauklens.show.page",
    "bauklens.show.terminal",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
)
OFFLINE = {"HF_HUB_OFFLINE": "1"}
NUMBER = struct.Struct("!q")


def python(*words, cwd=None, stdin=""):
    """Runs ``python WORDS``, which begin with a script's path or with ``-m``, as ``subprocess.run`` does."""
    words = [str(each) for each in words]
    if not FORKS:
        command, options = [sys.executable, *words], {"capture_output": True, "text": True, "check": False}
        return subprocess.run(command, cwd=cwd, input=stdin, env=os.environ | OFFLINE, **options)
    (given, to_given), (from_output, output), (from_errors, errors) = os.pipe(), os.pipe(), os.pipe()
    with ThreadPoolExecutor() as others:
        others.submit(write, to_given, stdin)
        said = [others.submit(read, each) for each in (from_output, from_errors)]
        try:
            status = status_of({"words": words, "folder": str(cwd or Path.cwd())}, (given, output, errors))
        finally:
            for each in (given, output, errors):
                os.close(each)
        return subprocess.CompletedProcess(words, status, *(each.result() for each in said))


def write(pipe, text):
    with suppress(BrokenPipeError), open(pipe, "w") as file:
        file.write(text)


def read(pipe):
    with open(pipe) as file:
        return file.read()


def status_of(program, files):
    """Has the server run a program with these standard files -> its status, as ``subprocess`` has it."""
    control, process = server()
    asked = json.dumps(program | {"environment": os.environ | OFFLINE}).encode()
    socket.send_fds(control, [NUMBER.pack(len(asked))], files)
    control.sendall(asked)
    status = control.recv(NUMBER.size, socket.MSG_WAITALL)
    assert status, process.communicate()[1].decode()
    return NUMBER.unpack(status)[0]


@cache
def server():
    """The server of this worker, and the socket through which it is asked."""
    control, far = socket.socketpair()
    files = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)  # as those of the programs will be
    command = [sys.executable, "-m", "tests.processes", str(far.fileno())]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | OFFLINE, pass_fds=[far.fileno()], **files)
    far.close()

    @atexit.register
    def end():
        control.close()
        process.communicate()

    return control, process


def asked_for(control):
    """In the server: forks for all that is asked -> in each child, what to run; None when nobody asks any more."""
    while head := socket.recv_fds(control, NUMBER.size, 3):
        if not head[0]:
            return None
        files, program = head[1], json.loads(control.recv(NUMBER.unpack(head[0])[0], socket.MSG_WAITALL))
        child = os.fork()
        if not child:
            control.close()
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            return program
        for file in files:
            os.close(file)
        control.sendall(NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


def become(words, folder, environment):
    """Runs a program in this process as if Python had been started with it."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], folder
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    for each in IMPORTED:
        import_module(each)
    gc.freeze()  # children need no copies of it
    if program := asked_for(socket.socket(fileno=int(sys.argv[1]))):
        become(**program)
