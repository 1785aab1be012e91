"""Ctrl-C while a native loop runs, and systems that start few threads: in processes of their own."""

import subprocess
import sys
import textwrap

import pytest

# A handler that raises at its third call: a loop that hears no signal would end first, after one call for all of them.
HEARD = """
import signal, threading, torch, monge
from monge.kernels import Points, assignment, partial_plan, simplex

D = torch.float64
calls = []

def handler(number, frame):
    calls.append(number)
    if len(calls) == 3:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt

def points(count, seed):
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(seed), dtype=D)

def interrupted(work):
    calls.clear()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        work()
    except KeyboardInterrupt:
        assert len(calls) == 3, calls
    else:
        raise AssertionError(f"ended before it was interrupted: {calls}")
    still_right()

def still_right():
    x, y = points(60, 2), points(60, 3)
    cost = torch.cdist(x, y) ** 2
    perm = assignment(cost).perm
    weights = torch.full((60,), 1 / 60, dtype=D)
    i, j, w, *_ = simplex(cost, weights, weights)
    assert abs(float(cost[range(60), perm].mean() - (w * cost[i, j]).sum())) < 1e-12

x, y = points(6000, 0), points(6000, 1)
weights = torch.full((6000,), 1 / 6000, dtype=D)
"""
LOOPS = (
    "interrupted(lambda: simplex(Points(x, y), weights, weights))",
    "interrupted(lambda: monge.solve(monge.problem.Linear.between(x, y), monge.solver.Simplex()))",
    "many = monge.problem.Linear.between(points(60_000, 2), points(60_000, 3))",
    "interrupted(lambda: monge.solve(many, monge.solver.Assignment()))",
    "interrupted(lambda: assignment(torch.cdist(x[:3000], y[:3000])))",
    "torch.set_num_threads(3)",
    "cost = torch.cdist(x[:1500], y[:1500]).expand(4, -1, -1)",
    "interrupted(lambda: assignment(cost))",
    "rows = torch.rand(4000, 3000, dtype=D)",
    "interrupted(lambda: partial_plan(rows, rows.flip(0) + 0.3, rule='mass', level=torch.tensor(9.5)))",
)


def run(code, timeout=600):
    told = f"import sys; sys.path[:] = {sys.path!r}\n" + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"status {done.returncode}\n{done.stderr[-2000:]}"


def test_loops_hear_an_interrupt_and_leave_nothing_broken():
    run("\n".join([HEARD, *LOOPS]))


def test_a_loop_in_another_thread_is_not_disturbed():
    """Python tells only its main thread of signals: the others finish their work."""
    run(
        HEARD
        + """
import time

found = []
other = threading.Thread(
    target=lambda: found.append(simplex(Points(x[:1500], y[:1500]), weights[:1500], weights[:1500]))
)

def wait():  # without a lock, which an exception could leave closed
    other.start()
    while True:
        time.sleep(0.01)

interrupted(wait)
other.join(300)
assert abs(float(found[0].w.sum()) - 0.25) < 1e-12
"""
    )


def test_a_process_ends_while_a_loop_runs_in_another_thread():
    # The loop has begun when the process ends: torch itself aborts a process that ends inside of its operators.
    run(
        HEARD
        + """
import time

threading.Thread(target=lambda: simplex(Points(x, y), weights, weights), daemon=True).start()
time.sleep(0.5)
"""
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits of threads are those of Linux")
def test_loops_work_with_the_threads_that_the_system_starts():
    run(
        """
        import os, resource, torch
        from monge.kernels import Points, argsort, assignment, line_distance, softmin, sort

        g = torch.Generator().manual_seed(0)
        x, y, bias = torch.rand(600, 3, generator=g), torch.rand(700, 3, generator=g), torch.zeros(700)
        cost, rows = torch.rand(40, 30, 30, generator=g), torch.rand(300, 2000, generator=g)

        def answers():
            found = softmin(Points(x, y), bias, 0.1), assignment(cost).perm, line_distance(rows, rows.flip(0))
            return *found, sort(rows), *argsort(rows)

        torch.set_num_threads(1)
        alone = answers()
        if os.getuid() == 0:  # of the superuser's threads the system counts none
            os.setuid(65534)
        used = len(os.listdir("/proc/self/task"))
        for more in (0, 1, 2, 100):  # and each time one thread more is asked for, so that the pool is made anew
            resource.setrlimit(resource.RLIMIT_NPROC, (used + more, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
            # Threads of torch itself, which ends where it cannot start them, are not asked for.
            torch.get_num_threads = lambda: 4 + min(more, 3)
            for _ in range(3):
                for one, other in zip(alone, answers(), strict=True):
                    assert torch.allclose(one, other), more
        """
    )
