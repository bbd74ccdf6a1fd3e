"""What ninja's document lacks: problems under their own content type, job kinds as schemas, examples that work."""

from typing import Any, Final

from jobs.api.problems import CONTENT_TYPE
from jobs.api.text import STORABLE
from jobs.kinds import Kind, submittable_kinds

_REF: Final = "#/components/schemas/{model}"
_JSON: Final = "application/json"
#: Schemas that list one alternative per registered kind.
_JOB: Final = "JobIn"

type Json = dict[str, Any]

#: gunicorn's own answer: such a request never reaches the application.
_TOO_LONG: Final[Json] = {
    "description": "The request line is longer than 8,190 bytes.",
    "content": {"text/html": {"schema": {"type": "string"}}},
}


def finish(document: Json) -> Json:
    """Completes ninja's document in place and returns it."""
    for operations in document["paths"].values():
        for operation in operations.values():
            _finish_operation(operation)
    schemas = document["components"]["schemas"]
    if _JOB in schemas:
        _spell_out_kinds(schemas)
    document["components"].setdefault("securitySchemes", {})["BearerKey"] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "hf_<id>_<secret>",
        "description": "An API key. Scopes: read, submit, operate.",
    }
    return document


def _finish_operation(operation: Json) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "Idempotency-Key":
            # An annotation, not a rule: any printable key is taken, a UUID is a good one.
            parameter["schema"]["format"] = "uuid"
    for status, response in operation["responses"].items():
        if int(status) >= 400 and "content" in response:
            response["content"] = {CONTENT_TYPE: response["content"][_JSON]}
        if int(status) in (429, 503):
            response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    operation["responses"][414] = dict(_TOO_LONG)


def _spell_out_kinds(schemas: Json) -> None:
    """Replaces the generic request by one alternative per kind, told apart by `kind`."""
    generic = schemas[_JOB]
    mapping = {}
    for kind in submittable_kinds():
        name = f"Job_{kind.name.replace('.', '_')}"
        mapping[kind.name] = _REF.format(model=name)
        schemas[name] = _request_of(kind, generic, schemas)
    if mapping:
        schemas[_JOB] = {
            "description": generic.get("description", ""),
            "oneOf": [{"$ref": reference} for reference in mapping.values()],
            "discriminator": {"propertyName": "kind", "mapping": mapping},
        }


def _request_of(kind: Kind, generic: Json, schemas: Json) -> Json:
    params = kind.params.model_json_schema(ref_template=_REF)
    schemas.update(params.pop("$defs", {}))
    _refuse_nul(params)
    properties = {
        **generic["properties"],
        "kind": {"type": "string", "const": kind.name, "title": "Kind"},
        "params": params,
    }
    return {**generic, "title": f"A job of kind {kind.name}", "properties": properties}


def _refuse_nul(schema: Any) -> None:  # noqa: ANN401 - any part of a JSON schema
    """Says of every free text what the service says of it: no NUL."""
    if isinstance(schema, list):
        for part in schema:
            _refuse_nul(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "string" and not schema.keys() & {"pattern", "format", "enum", "const"}:
            schema["pattern"] = STORABLE
        for part in schema.values():
            _refuse_nul(part)
