"""Runs a program in a terminal of its own: COLUMNS ROWS END COMMAND...

END is what happens once the program has shown something, or not in five seconds, and another one has passed: `q` is typed, `hang up` is SIGHUP as a shell passes it on,
`close` is a terminal that is gone. One line of JSON: what was shown, and how the program ended (null: it did not, in a minute)."""
import fcntl, json, os, pty, select, signal, struct, sys, termios, time

columns, rows, end, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
near, far = pty.openpty()
fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(far, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(far, number)
    os.execvp(command[0], command)
os.close(far)
shown = b""


def read(wait):
    global shown
    if not select.select([near], [], [], wait)[0]:
        return
    try:
        shown += os.read(near, 65536)
    except OSError:
        time.sleep(wait)


began = time.time()
# tap shows nothing before there is something.
while not shown and time.time() - began < 5:
    read(0.1)
until = time.time() + 1
while time.time() < until:
    read(0.1)
if end == "q":
    os.write(near, b"q")
elif end == "hang up":
    os.kill(pid, signal.SIGHUP)
elif end == "close":
    os.close(near)
ended = None
began = time.time()
while ended is None and time.time() - began < 60:
    found, status = os.waitpid(pid, os.WNOHANG)
    if found:
        ended = os.waitstatus_to_exitcode(status)
    elif end == "close":
        time.sleep(0.05)
    else:
        read(0.05)
if ended is None:
    os.kill(pid, signal.SIGKILL)
print(json.dumps({"shown": shown.decode("utf-8", "replace"), "ended": ended}))
