"""Objects of each frame of a video.

python examples/video.py <checkpoint> <video>
"""

import sys

from cutler_pl import CutLER

if len(sys.argv) != 3:
    sys.exit(f"usage: {__doc__.splitlines()[2]}")
checkpoint, video = sys.argv[1:]

model = CutLER.from_pretrained(checkpoint)  # "tiny_generated" comes with the package and needs no network
for frame in model.predict_video(video, score_threshold=0.35, batch_size=4):
    print(f"frame {frame.number} at {frame.time_s:.2f} s: {len(frame)} objects")
