"""What a batch of each recipe takes, worked out from the shapes in the model's config; nothing is downloaded or run."""

from __future__ import annotations

import argparse

import videoalign

NAMES = ("wan21_1_3b", "wan22_5b", "wan22_14b", "ltx", "ltx2", "hunyuan15")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    print("| recipe | clip | memory, GiB | of it weights, optimizer, activations | TFLOP a pair |")
    print("| --- | --- | --- | --- | --- |")
    for name in parser.parse_args().names:
        recipe = getattr(videoalign, name)()
        cost, config, gib = recipe.cost(), recipe.config, 2**30
        parts = (cost.weights_bytes, cost.optimizer_bytes, cost.activations_bytes)
        clip = f"{config.num_frames} of {config.height} x {config.width}"
        told = ", ".join(f"{part / gib:.1f}" for part in parts)
        print(f"| `{name}` | {clip} | {cost.bytes / gib:.1f} | {told} | {cost.operations / 1e12:.0f} |", flush=True)


if __name__ == "__main__":
    main()
