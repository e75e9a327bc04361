"""The description of the HTTP interface that programs read: OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from restore_cli._version import __version__
from restore_cli.imaging.formats import WRITABLE_FORMATS
from restore_cli.jobs.choose import LARGEST_SIGMA
from restore_cli.tasks import task_names

_ERRORS = {
    "400": "The request names what does not exist, or brings no image.",
    "401": "A token is needed.",
    "408": "The image took too long to arrive.",
    "413": "The image is larger than allowed.",
    "422": "The image cannot be read, restored or written.",
    "503": "Too many images wait; Retry-After says when to try again.",
}


def openapi_document() -> dict[str, Any]:
    """Return the document that lies at /openapi.json."""
    image = {"content": {"image/*": {"schema": {"type": "string", "contentMediaType": "image/*"}}}}
    sent = {"parameters": _parameters(), "requestBody": _body()}
    id_parameter = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "restore", "version": __version__, "description": "Restore images."},
        "components": {"schemas": {"Error": _error_schema()}, "securitySchemes": {"token": _bearer()}},
        "security": [{}, {"token": []}],
        "paths": {
            "/v1/restore": {"post": _operation("Restore an image.", {"200": image}, **sent)},
            "/v1/jobs": {"post": _operation("Queue an image.", {"202": _json("Where to look for it.")}, **sent)},
            "/v1/jobs/{id}/events": {
                "parameters": [id_parameter],
                "get": _operation(
                    "Follow an image: its state, how many are ahead, the share done.",
                    {"200": {"content": {"text/event-stream": {}}}},
                ),
            },
            "/v1/jobs/{id}/result": {
                "parameters": [id_parameter],
                "get": _operation("Fetch a restored image.", {"200": image, "409": _json("It is not done yet.")}),
            },
            "/v1/jobs/{id}": {
                "parameters": [id_parameter],
                "delete": _operation("Stop an image or forget it.", {"204": {"description": "It is gone."}}),
            },
            "/v1/tasks": {"get": _operation("List tasks and their weights.", {"200": _json("What is offered.")})},
            "/healthz": {"get": _operation("Return whether the server answers.", {"200": _json("It does.")})},
        },
    }


def _operation(summary: str, answers: dict[str, Any], **rest: Any) -> dict[str, Any]:
    described = {status: {"description": "Done.", **answer} for status, answer in answers.items()}
    errors = {status: _json(text, "#/components/schemas/Error") for status, text in _ERRORS.items()}
    return {"summary": summary, **rest, "responses": {**described, **errors}}


def _parameters() -> list[dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = {
        "task": {"type": "string", "enum": list(task_names())},
        "weights": {"type": "string", "description": "A model or an id of /v1/tasks; the bundled ones if absent."},
        "scale": {"type": "integer", "minimum": 2, "maximum": 4, "default": 4, "description": "Of sr."},
        "sigma": {"type": "number", "minimum": 0, "maximum": LARGEST_SIGMA, "description": "Of denoise."},
        "strength": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 1,
            "description": "Of all but sr: the share of the result, the rest being the image as it came.",
        },
        "photo": {"type": "boolean", "description": "Of sr: for photos with noise and compression in them."},
        "format": {"type": "string", "enum": [name.lower() for name in WRITABLE_FORMATS]},
        "quality": {"type": "integer", "minimum": 1, "maximum": 100, "default": 95},
    }
    return [
        {"name": name, "in": "query", "required": name == "task", "schema": schema} for name, schema in schemas.items()
    ]


def _body() -> dict[str, Any]:
    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {"type": "object", "properties": {"image": binary}, "required": ["image"]}
    return {
        "required": True,
        "description": "The image itself, or a form with it as its one file; the parameters may be fields of the form.",
        "content": {"application/octet-stream": {"schema": binary}, "multipart/form-data": {"schema": form}},
    }


def _json(description: str, reference: str | None = None) -> dict[str, Any]:
    schema = {"type": "object"} if reference is None else {"$ref": reference}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _error_schema() -> dict[str, Any]:
    texts = {"message": {"type": "string"}, "hint": {"type": ["string", "null"]}}
    return {"type": "object", "properties": {"error": {"type": "object", "properties": texts}}}


def _bearer() -> dict[str, str]:
    return {"type": "http", "scheme": "bearer"}
