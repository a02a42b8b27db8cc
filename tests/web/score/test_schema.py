"""What the server says of itself is how it behaves: no request made from its OpenAPI brings it down."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from videoalign.models.videoreward import VideoReward
from videoalign.web.score.app import build_app
from videoalign.web.score.settings import ServeSettings

load_all_checks()
HOLDS = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "missing_required_header",
        "unsupported_method",
    ]
)


@pytest.fixture(scope="module")
def described(reward: VideoReward) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/openapi.json", build_app(reward, ServeSettings(), (b"token",)))


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        ("/v1/score", "POST", GenerationMode.POSITIVE),
        ("/v1/score", "POST", GenerationMode.NEGATIVE),
        ("/health", "GET", GenerationMode.POSITIVE),
        ("/metrics", "GET", GenerationMode.POSITIVE),
        ("/metrics", "GET", GenerationMode.NEGATIVE),
    ],
)
def test_every_answer_is_as_described_and_none_is_a_server_error(
    described: schemathesis.BaseSchema, path: str, method: str, mode: GenerationMode
) -> None:
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=HOLDS, headers={"authorization": "Bearer token"})

    ask()
