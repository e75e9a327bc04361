"""The description of the HTTP interface that programs read: OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from restore_cli._version import __version__
from restore_cli.imaging.formats import WRITABLE_FORMATS
from restore_cli.jobs.choose import LARGEST_SIGMA
from restore_cli.server.request import KINDS, LARGEST_SIDE
from restore_cli.settings import USUAL_QUALITY
from restore_cli.tasks import task_names

_ERRORS = {
    "400": "The request names what does not exist, or brings no image.",
    "401": "A token is needed.",
    "408": "The image took too long to arrive.",
    "413": "The image is larger than allowed.",
    "422": "The image cannot be read, restored or written.",
    "503": "Too many images wait; Retry-After says when to try again.",
}


_HEADERS = {
    "X-Restore-Weights": "Id of the weights that made it.",
    "X-Restore-Seconds": "How long it took.",
    "X-Restore-Size": "WIDTHxHEIGHT of the result.",
    "X-Restore-Warnings": "What was decided or lost on the way: a JSON list of sentences.",
    "X-Restore-Noise": "With sigma=auto, the level that was estimated.",
}


def openapi_document() -> dict[str, Any]:
    """Return the document that lies at /openapi.json."""
    image = {
        "headers": {name: {"schema": {"type": "string"}, "description": text} for name, text in _HEADERS.items()},
        "content": {"image/*": {"schema": {"type": "string", "contentMediaType": "image/*"}}},
    }
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
    switch = {"type": "boolean", "default": False}
    side = {"type": "integer", "minimum": 1, "maximum": LARGEST_SIDE}
    schemas: dict[str, dict[str, Any]] = {
        "task": {"type": "string", "enum": list(task_names()), "description": "This or steps must be there."},
        "steps": {
            "type": "string",
            "description": "In place of task: several one after the other, as in denoise:25,sr:2.",
        },
        "weights": {"type": "string", "description": "A model or an id of /v1/tasks; the bundled ones if absent."},
        "scale": {"type": "integer", "minimum": 2, "maximum": 4, "description": "Of sr: as the weights, or 4."},
        "photo": {**switch, "description": "Of sr: for photos with noise and compression in them."},
        "sigma": {
            "oneOf": [{"type": "number", "minimum": 0, "maximum": LARGEST_SIGMA}, {"const": "auto"}],
            "description": "Of denoise: level of the noise, or auto to estimate it; if absent the network finds it.",
        },
        "gray": {"type": "boolean", "description": "Of denoise: the gray or the colour network; each image decides."},
        "real": {**switch, "description": "Of denoise: for the noise of real cameras."},
        "kind": {"type": "string", "enum": list(KINDS), "default": KINDS[0], "description": "Of deblur: the cause."},
        "strength": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 1,
            "description": "Of all but sr: the share of the result, the rest being the image as it came.",
        },
        "tta": {**switch, "description": "The mean over eight flips and rotations: eight times the work."},
        "format": {
            "type": "string",
            "enum": [name.lower() for name in WRITABLE_FORMATS],
            "description": "Of the result; as the image if absent, GIF and BMP becoming PNG.",
        },
        "quality": {"type": "integer", "minimum": 1, "maximum": 100, "default": USUAL_QUALITY},
        "lossless": {**switch, "description": "Write WebP, HEIF and JPEG XL without loss."},
        "strip": {**switch, "description": "Leave EXIF, XMP, IPTC, texts and DPI out of the result."},
        "background": {"type": "string", "default": "white", "description": "Behind transparency: white, #336699."},
        "width": {**side, "description": "Resize the result to this width."},
        "height": {**side, "description": "Resize the result to this height; with width, into both."},
        "long_side": {**side, "description": "Resize the result so that its longer side has this size."},
        "allow_damaged": {**switch, "description": "Read what there is of a damaged image."},
        "strict": {**switch, "description": "Refuse what else would be lost or decided with a warning."},
        "all_pages": {**switch, "description": "Restore every page of a TIFF, into one TIFF."},
    }
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in schemas.items()]


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
