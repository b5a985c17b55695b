# Runs a command on a terminal of its own, types the given keys once it has drawn, and tells what became of the terminal.
# Arguments: what the drawing holds, the keys, the command.
import fcntl, json, os, pty, select, struct, subprocess, sys, termios, time

drawn, keys, command = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
keys = keys.decode("unicode_escape").encode("latin-1")
ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 80, 0, 0))
before = termios.tcgetattr(theirs)


def own_terminal():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own_terminal)
output, typed, deadline = b"", False, time.monotonic() + 60
while child.poll() is None and time.monotonic() < deadline:
    if select.select([ours], [], [], 0.1)[0]:
        output += os.read(ours, 65536)
    if drawn in output and not typed:
        during = termios.tcgetattr(theirs)
        os.write(ours, keys)
        typed = True
if child.poll() is None:
    child.kill()
while select.select([ours], [], [], 0.1)[0]:
    output += os.read(ours, 65536)
print(json.dumps({
    "code": child.wait(),
    "output": output.decode(),
    "unseen": typed and not during[3] & (termios.ECHO | termios.ICANON),
    "restored": termios.tcgetattr(theirs) == before,
}))
