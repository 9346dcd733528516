"""What mlr serve answers under load, and whether its memory stays flat.

python benchmarks/serving.py      starts the server, sends it photographs over several connections
at once, prints a table; exit code 1 where memory, files or threads grow
"""

import argparse
import http.client
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from soak import growth, is_flat, settled, state

from mlr.runs.shipped import DEMO_RUN

PHOTOS = sorted((Path(__file__).parents[1] / "imgs" / "photos").glob("*.jpg"))
PATHS = {"/predict": 1, "/views": 10}  # of how many requests one goes there: it takes longer
SAMPLES = 25  # of the server's memory


def bodies():
    """Return the body and the headers of a request for each photograph."""
    requests = [
        httpx.Request("POST", "http://server", files={"images": (path.name, path.read_bytes())})
        for path in PHOTOS
    ]
    return [
        (request.read(), {"Content-Type": request.headers["Content-Type"]}) for request in requests
    ]


def ask(port, path, sent, count):
    """Send requests over one connection, one after the other; return the seconds of each."""
    connection, seconds = http.client.HTTPConnection("127.0.0.1", port), []
    for number in range(count):
        body, headers = sent[number % len(sent)]
        start = time.monotonic()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        seconds.append(time.monotonic() - start)
        if answer.status != 200:
            sys.exit(f"{path} answered {answer.status}")
    connection.close()
    return seconds


def load(process, port, path, requests, at_once):
    """Send all requests; return the seconds of each, those of all, and the server's states."""
    sent, each = bodies(), max(1, requests // at_once // SAMPLES)
    seconds, states, start = [], [], time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        for _ in range(SAMPLES):
            asked = [pool.submit(ask, port, path, sent, each) for _ in range(at_once)]
            seconds += [value for one in asked for value in one.result()]
            states.append(state(process))
    return seconds, time.monotonic() - start, states


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", default=str(DEMO_RUN))
    parser.add_argument(
        "--requests", type=int, default=10000, help="to POST /predict; a tenth to /views"
    )
    parser.add_argument("--at-once", type=int, default=4, help="connections")
    options = parser.parse_args()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlr", "serve", "--run", options.run, "--ctx", "cpu", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    grows = []
    try:
        address = process.stdout.readline().split()[-4]
        port = int(address.rpartition(":")[2])
        print(
            "| path | requests | at once | requests/s | median, ms | 99 % within, ms | after "
            "warm-up, MiB | at the end, MiB | last quarter less first, MiB | flat |\n| --- | --- "
            "| --- | --- | --- | --- | --- | --- | --- | --- |"
        )
        for path, share in PATHS.items():
            seconds, total, states = load(
                process.pid, port, path, options.requests // share, options.at_once
            )
            middle, most = 1000 * np.percentile(seconds, (50, 99))
            kept = settled(states)[:, 0] / 1024
            print(
                f"| `{path}` | {len(seconds):,} | {options.at_once} | {len(seconds) / total:.1f} "
                f"| {middle:.0f} | {most:.0f} | {kept[0]:.1f} | {kept[-1]:.1f} "
                f"| {growth(states).memory / 1024:+.1f} | {'yes' if is_flat(states) else 'no'} |",
                flush=True,
            )
            if not is_flat(states):
                grows.append(path)
    finally:
        process.terminate()
        process.wait()
    if grows:
        sys.exit(f"not flat: {', '.join(grows)}")


if __name__ == "__main__":
    main()
