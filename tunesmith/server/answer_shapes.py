"""The shapes of what the server answers, as JSON schemas for the published OpenAPI. They are OpenAI's. No route."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
YES: Schema = {"type": "boolean"}
ANY: Schema = {}
ANYTHING: Schema = {"type": "object"}


def one_of(*values: str) -> Schema:
    """One of these texts."""
    return {"type": "string", "enum": list(values)}


def or_null(schema: Schema) -> Schema:
    """What may be null too."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """A list of such."""
    return {"type": "array", "items": schema}


def of(name: str) -> Schema:
    """The shape of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def shape(**fields: Schema) -> Schema:
    """An object that has these fields, and may have others."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def listed(name: str) -> Schema:
    """A page of a list of the shape of this name."""
    return shape(
        object=one_of("list"), data=many(of(name)), has_more=YES, first_id=or_null(TEXT), last_id=or_null(TEXT)
    )


SHAPES: dict[str, Schema] = {
    "Error": shape(error=shape(message=TEXT, type=TEXT, param=or_null(TEXT), code=or_null(TEXT))),
    "File": shape(
        id=TEXT, object=one_of("file"), bytes=WHOLE, created_at=WHOLE, filename=TEXT, purpose=TEXT, status=TEXT
    ),
    "FileList": listed("File"),
    "Upload": shape(
        id=TEXT,
        object=one_of("upload"),
        bytes=WHOLE,
        created_at=WHOLE,
        expires_at=WHOLE,
        filename=TEXT,
        purpose=TEXT,
        status=one_of("pending", "completed", "cancelled", "expired"),
        file=or_null(of("File")),
    ),
    "UploadPart": shape(id=TEXT, object=one_of("upload.part"), created_at=WHOLE, upload_id=TEXT),
    "Deleted": shape(id=TEXT, object=TEXT, deleted=YES),
    "Job": shape(
        id=TEXT,
        object=one_of("fine_tuning.job"),
        model=TEXT,
        created_at=WHOLE,
        finished_at=or_null(WHOLE),
        fine_tuned_model=or_null(TEXT),
        status=one_of("validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"),
        training_file=TEXT,
        validation_file=or_null(TEXT),
        result_files=many(TEXT),
        trained_tokens=or_null(WHOLE),
        seed=WHOLE,
        method=or_null(ANYTHING),
        metadata=or_null(ANYTHING),
        error=or_null(ANYTHING),
    ),
    "JobList": listed("Job"),
    "Event": shape(
        id=TEXT, object=one_of("fine_tuning.job.event"), created_at=WHOLE, level=TEXT, message=TEXT, type=TEXT, data=ANY
    ),
    "EventList": listed("Event"),
    "Checkpoint": shape(
        id=TEXT,
        object=one_of("fine_tuning.job.checkpoint"),
        created_at=WHOLE,
        fine_tuned_model_checkpoint=TEXT,
        fine_tuning_job_id=TEXT,
        metrics=ANYTHING,
        step_number=WHOLE,
    ),
    "CheckpointList": listed("Checkpoint"),
    "Model": shape(id=TEXT, object=one_of("model"), created=WHOLE, owned_by=TEXT),
    "ModelList": shape(object=one_of("list"), data=many(of("Model"))),
    "Chat": shape(
        id=TEXT,
        object=one_of("chat.completion"),
        created=WHOLE,
        model=TEXT,
        choices=many(shape(index=WHOLE, message=shape(role=TEXT, content=or_null(TEXT)), finish_reason=or_null(TEXT))),
        usage=shape(prompt_tokens=WHOLE, completion_tokens=WHOLE, total_tokens=WHOLE),
    ),
    "Completion": shape(
        id=TEXT,
        object=one_of("text_completion"),
        created=WHOLE,
        model=TEXT,
        choices=many(shape(index=WHOLE, text=TEXT, finish_reason=or_null(TEXT))),
        usage=shape(prompt_tokens=WHOLE, completion_tokens=WHOLE, total_tokens=WHOLE),
    ),
    "Embeddings": shape(
        object=one_of("list"),
        data=many(shape(index=WHOLE, object=one_of("embedding"), embedding={"type": ["array", "string"]})),
        model=TEXT,
        usage=shape(prompt_tokens=WHOLE, total_tokens=WHOLE),
    ),
    "Transcription": shape(text=TEXT),
    "Images": shape(created=WHOLE, data=many(shape(b64_json=TEXT))),
    "Predictions": ANYTHING,
    "Health": shape(status=one_of("ok"), version=TEXT, jobs=ANYTHING),
    "OpenAPI": shape(openapi=TEXT, info=ANYTHING, paths=ANYTHING),
}
JOB = "/v1/fine_tuning/jobs"
ANSWERS = {
    ("POST", "/v1/files"): "File",
    ("GET", "/v1/files"): "FileList",
    ("GET", "/v1/files/{file_id}"): "File",
    ("DELETE", "/v1/files/{file_id}"): "Deleted",
    ("POST", "/v1/uploads"): "Upload",
    ("POST", "/v1/uploads/{upload_id}/parts"): "UploadPart",
    ("POST", "/v1/uploads/{upload_id}/complete"): "Upload",
    ("POST", "/v1/uploads/{upload_id}/cancel"): "Upload",
    ("POST", JOB): "Job",
    ("GET", JOB): "JobList",
    ("GET", f"{JOB}/{{job_id}}"): "Job",
    ("POST", f"{JOB}/{{job_id}}/cancel"): "Job",
    ("POST", f"{JOB}/{{job_id}}/pause"): "Job",
    ("POST", f"{JOB}/{{job_id}}/resume"): "Job",
    ("GET", f"{JOB}/{{job_id}}/events"): "EventList",
    ("GET", f"{JOB}/{{job_id}}/checkpoints"): "CheckpointList",
    ("GET", "/v1/models"): "ModelList",
    ("GET", "/v1/models/{model}"): "Model",
    ("POST", "/v1/chat/completions"): "Chat",
    ("POST", "/v1/completions"): "Completion",
    ("POST", "/v1/embeddings"): "Embeddings",
    ("POST", "/v1/audio/transcriptions"): "Transcription",
    ("POST", "/v1/images/generations"): "Images",
    ("POST", "/v1/predict"): "Predictions",
    ("GET", "/healthz"): "Health",
    ("GET", "/openapi.json"): "OpenAPI",
}
OTHERS = {
    ("GET", "/v1/files/{file_id}/content"): ("application/octet-stream",),
    ("GET", "/metrics"): ("text/plain",),
    ("POST", "/v1/chat/completions"): ("text/event-stream",),
    ("POST", "/v1/completions"): ("text/event-stream",),
    ("POST", "/v1/audio/transcriptions"): ("text/plain", "text/vtt", "application/x-subrip"),
}
"""Kinds of content that are no JSON."""


def content_of(method: str, path: str) -> Schema:
    """What a route answers when all is well, by kind of content."""
    found: Schema = {}
    if (name := ANSWERS.get((method, path))) is not None:
        found["application/json"] = {"schema": of(name)}
    for kind in OTHERS.get((method, path), ()):
        found[kind] = {"schema": TEXT}
    return found
