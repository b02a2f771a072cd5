"""The process of the judge: see judge.py."""

if __name__ == "__main__":  # pragma: no branch
    import os
    import sys

    # Its streams are for it alone: the processes of answers, which come to have
    # them, find nothing there.
    streams = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)

    if sys.argv[1] == "forkserver":  # it imports PyTorch while we do
        import multiprocessing
        import multiprocessing.forkserver  # which Windows does not have

        context = multiprocessing.get_context("forkserver")
        loaded = ["course_lib.checks.sandbox", "course_lib.checks.warm"]
        context.set_forkserver_preload(loaded)
        multiprocessing.forkserver.ensure_running()

    from contextlib import suppress

    from course_lib.checks.judge import serve

    with suppress(BrokenPipeError, KeyboardInterrupt):
        serve(*streams, sys.argv[1])
