"""How long a comparison in the studio takes: base and steered clips of some seeds, to the last score."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient

from videoalign.web.studio.app import Studio, build_studio
from videoalign.web.studio.cache import Cache
from videoalign.web.studio.opening import open_sources, sources_of_run
from videoalign.web.studio.settings import StudioSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"), help="a quickstart run")
    parser.add_argument("--seeds", type=int, default=4, help="two clips of each")
    arguments = parser.parse_args()
    place = {"device": "cpu", "dtype": "float32", "offload": "none"}
    opened = open_sources(sources_of_run(arguments.run), StudioSettings(), place)
    weights = dict.fromkeys(opened.dimensions[:2], 1.0)
    asked = {"prompt": opened.prompts[0], "seeds": list(range(arguments.seeds)), "weights": weights, "strength": 2.0}
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(opened, Cache(Path(folder), 2**30))
        with TestClient(build_studio(studio)) as client:
            client.get("/")
            for name in ("made", "there already"):
                begin, processor = time.perf_counter(), time.process_time()
                job = client.post("/api/compare", json={**asked, "make": True}).json()["job"]
                while job is not None and job["state"] in ("waiting", "running"):
                    time.sleep(0.05)
                    job = client.get(f"/api/jobs/{job['id']}").json()
                seconds, spent = time.perf_counter() - begin, time.process_time() - processor
                print(f"{2 * arguments.seeds} clips, {name}: {seconds:.2f} s, {spent:.2f} s of processor time")


if __name__ == "__main__":
    main()
