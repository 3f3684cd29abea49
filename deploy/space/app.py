"""The web demo as a Space of the Hugging Face hub, which asks for port 7860."""

import os

from cutler_pl.cli import run

checkpoint = os.environ.get("CUTLER_CHECKPOINT", "tiny_generated")
run("demo", [f"checkpoint={checkpoint}", "host=0.0.0.0", "port=7860"])
