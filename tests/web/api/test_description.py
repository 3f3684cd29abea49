"""The OpenAPI description and the page that shows it."""

import re
from collections.abc import Iterator

import pytest

from cutler_pl import MaskCut
from cutler_pl.web.api import Cutting, ServerOptions, build_app
from tests.web.serving import Client, StubEndpoint, served


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    endpoints = [StubEndpoint(), Cutting(MaskCut("patch_descriptors", device="cpu"))]
    with served(build_app(endpoints, ServerOptions())) as one:
        yield one


def test_description_has_fields_and_answers(client: Client) -> None:
    description = client.request("GET", "/openapi.json").json
    assert set(description["paths"]) == {"/predict", "/maskcut", "/healthz"}
    operation = description["paths"]["/maskcut"]["post"]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["required"] == ["image"]
    assert set(schema["properties"]) == {
        "image", "num_masks", "tau", "stop", "crf", "score_threshold", "max_detections"
    }  # fmt: skip
    assert schema["properties"]["tau"] | {"description": ""} == {
        "type": "number", "minimum": 0, "exclusiveMaximum": 1, "description": ""
    }  # fmt: skip
    assert schema["properties"]["stop"]["enum"][0] == "never"
    assert all(one["description"] for one in schema["properties"].values())
    assert set(operation["responses"]) == {"200", "400", "413", "415", "422", "429", "500", "504"}
    answer = description["components"]["schemas"]["Detections"]
    assert answer["required"] == ["width", "height", "model", "detections"]
    assert description["components"]["schemas"]["Error"]["required"] == ["error"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_page_needs_no_other_host(client: Client, path: str) -> None:
    page = client.request("GET", path)
    assert page.status == 200
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", page.text) == []
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_health(client: Client) -> None:
    answer = client.request("GET", "/healthz")
    assert answer.status == 200
    assert answer.json == {"status": "ok", "active_requests": 0}
