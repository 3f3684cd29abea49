"""Objects of one image by the HTTP API, with nothing but the standard library.

cutler serve checkpoint=tiny_generated port=8080
python examples/http_client.py http://127.0.0.1:8080/predict <image> score_threshold=0.5
"""

import json
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

if len(sys.argv) < 3:
    sys.exit(f"usage: {__doc__.splitlines()[3]}")
address, image, *fields = sys.argv[1:]

boundary = uuid.uuid4().hex
parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, _, value in (field.partition("=") for field in fields)]
parts.append(b'name="image"; filename="image"\r\n\r\n' + Path(image).read_bytes())
body = b"".join(b"--%b\r\nContent-Disposition: form-data; %b\r\n" % (boundary.encode(), part) for part in parts)
body += f"--{boundary}--\r\n".encode()

request = urllib.request.Request(address, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
try:
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
except urllib.error.HTTPError as error:  # too large, no image, a full queue, …: one sentence says it
    sys.exit(f"{error.code}: {json.load(error)['error']}")

print(f"{answer['width']}×{answer['height']}, {len(answer['detections'])} objects by {answer['model']}")
for found in answer["detections"][:5]:
    left, top, width, height = found["bbox"]
    print(f"{found['score']:.2f}  {found['category_name']}  {left:.0f} {top:.0f} {width:.0f}×{height:.0f}")
