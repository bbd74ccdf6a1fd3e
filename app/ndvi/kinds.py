"""The job kinds of the domain: fetch a field, compute an index, put it into words."""

from datetime import date
from functools import partial
from typing import Annotated, Any, Final, Self
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from jobs import Done, FollowUp, JobContext, Permanent, Retryable, StoredFile, job_kind, selectors
from jobs.ids import new_id
from jobs.states import State
from ndvi import archive
from ndvi.archive import ArchiveScene, NoClearSceneError, Wanted
from ndvi.farms import field_of
from ndvi.field_window import FieldOutsideError, FieldRead, FieldTooLargeError, read_field
from ndvi.inspection import SceneHeader, inspect
from ndvi.models import Scene
from ndvi.raster import NoSuchBand, Outputs, UnreadableRaster, compute
from ndvi.scratch import scratch_folder
from ndvi.shapes import Shape
from ndvi.storage import FileGoneError, local_file, store
from ndvi.upstream import Upstream, UpstreamError, UpstreamUnavailableError
from ndvi.words import summary_of

#: Seconds of an attempt that stay for storing what was fetched.
_STORING_SECONDS: Final = 15.0
MAX_DAYS: Final = 400

type Band = Annotated[int, Field(ge=1, le=1000, strict=True, description="Counted from 1.")]
type AssetName = Annotated[str, Field(min_length=1, max_length=100)]


class ComputeParams(BaseModel):
    """The index of a stored scene."""

    model_config = ConfigDict(extra="forbid")

    scene: UUID = Field(description="Id that POST /api/v1/scenes answered.")
    red: Band
    nir: Band
    summarise: bool = Field(default=False, strict=True, description="Let ndvi.summary follow.")

    @model_validator(mode="after")
    def _two_bands(self) -> Self:
        if self.red == self.nir:
            raise ValueError("red and nir are the same band: name two")
        return self


class FieldParams(BaseModel):
    """The newest clear scene of a farm's field.

    Equal requests are one job: for a newer scene give a later end, or force.
    """

    model_config = ConfigDict(extra="forbid")

    start: date = Field(description="First day, UTC.")
    end: date = Field(description="Last day, UTC.")
    max_cloud: float = Field(default=20.0, ge=0, le=100, description="Percent of the scene.")
    geometry: dict[str, Any] | None = Field(
        default=None, description="GeoJSON Polygon or MultiPolygon in degrees; the sample place of farm_id when absent."
    )
    collection: AssetName | None = Field(default=None, description="STAC collection; all when absent.")
    red: AssetName = Field(default="red", description="Name of the asset with the red band.")
    nir: AssetName = Field(default="nir", description="Name of the asset with the near infrared band.")

    @field_validator("geometry")
    @classmethod
    def _is_an_area(cls, geometry: dict[str, Any] | None) -> dict[str, Any] | None:
        if geometry is not None and not Shape(geometry).is_area:
            raise ValueError("give a GeoJSON Polygon or MultiPolygon in degrees")
        return geometry

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if not 0 <= (self.end - self.start).days <= MAX_DAYS:
            raise ValueError(f"end must lie 0 to {MAX_DAYS} days after start")
        return self


class SummaryParams(BaseModel):
    """The words for a finished ndvi.compute."""

    model_config = ConfigDict(extra="forbid")

    compute: UUID = Field(description="Id of the ndvi.compute job.")


@job_kind("ndvi.compute", pool="cpu", params=ComputeParams, max_attempts=3)
def compute_index(job: JobContext, params: ComputeParams) -> Done:
    """Statistics, COG, quicklook and JSON of a scene's index."""
    scene = _scene(params.scene, job.owner)
    with scratch_folder(settings.HOLDFAST.scratch_dir) as folder:
        try:
            with local_file(scene.key, folder) as source:
                outputs = compute(source, red=params.red, nir=params.nir, folder=folder, on_window=job.check_stopped)
        except (NoSuchBand, UnreadableRaster, FileGoneError) as error:
            raise Permanent(str(error)) from error
        files = _store_outputs(job, outputs)
    result = {
        "scene": str(scene.id),
        "source": scene.source,
        "statistics": outputs.statistics,
        "files": {file.name: f"/api/v1/jobs/{job.id}/files/{file.name}" for file in files},
    }
    summary = FollowUp(step="summary", kind="ndvi.summary", params={"compute": str(job.id)})
    return Done(result=result, files=files, follow_ups=[summary] if params.summarise else [])


def _scene(scene_id: UUID, owner: str) -> Scene:
    scene = Scene.objects.filter(id=scene_id, owner=owner).first()
    if scene is None:
        raise Permanent(f"params.scene: there is no scene {scene_id} of this owner: upload it (POST /api/v1/scenes).")
    return scene


def _store_outputs(job: JobContext, outputs: Outputs) -> list[StoredFile]:
    return [
        store(job, outputs.index, media_type="image/tiff"),
        store(job, outputs.quicklook, media_type="image/png"),
        store(job, outputs.document, media_type="application/json"),
    ]


@job_kind("ndvi.field", pool="io", params=FieldParams)
def fetch_field(job: JobContext, params: FieldParams) -> Done:
    """Finds the newest clear scene upstream and stores the field's window of it; ndvi.compute follows."""
    wanted = _wanted(job, params)
    with scratch_folder(settings.HOLDFAST.scratch_dir) as folder:
        target = folder / "scene.tif"
        try:
            upstream = Upstream(seconds_left=partial(_seconds_left, job))
            found = archive.newest_clear_scene(upstream, settings.HOLDFAST.ndvi_upstream_url, wanted)
            read = read_field(upstream, found, wanted.geometry, target, job.check_stopped)
        except UpstreamUnavailableError as error:
            raise Retryable(str(error)) from error
        except (UpstreamError, NoClearSceneError, FieldTooLargeError, FieldOutsideError) as error:
            raise Permanent(str(error)) from error
        return _fetched(job, found, read, store(job, target, media_type="image/tiff"), inspect(target))


def _seconds_left(job: JobContext) -> float:
    """Asked before each request upstream: an attempt that lost its lease sends no more of them."""
    job.check_stopped()
    return max(0.0, job.seconds_left() - _STORING_SECONDS)


def _wanted(job: JobContext, params: FieldParams) -> Wanted:
    if params.geometry is None and not job.farm_id:
        raise Permanent("farm_id, params.geometry: give the farm's id or the field's outline.")
    return Wanted(
        geometry=params.geometry or field_of(job.farm_id),
        start=params.start,
        end=params.end,
        max_cloud=params.max_cloud,
        collection=params.collection,
        red_asset=params.red,
        nir_asset=params.nir,
    )


def _fetched(job: JobContext, found: ArchiveScene, read: FieldRead, file: StoredFile, header: SceneHeader) -> Done:
    scene = Scene(
        id=new_id(),
        owner=job.owner,
        name=f"{found.id}.tif",
        key=file.key,
        bytes=file.bytes,
        width=header.width,
        height=header.height,
        bands=header.bands,
        dtype=header.dtype,
        crs=header.crs,
        source=archive.source_document(found),
        job_id=job.id,
    )
    result = {
        "scene": str(scene.id),
        "source": scene.source,
        "width": read.width,
        "height": read.height,
        "bytes_read": read.bytes_read,
        "bytes_upstream": read.bytes_upstream,
    }
    params = {"scene": str(scene.id), "red": 1, "nir": 2, "summarise": True}
    return Done(
        result=result,
        effects=[partial(scene.save, force_insert=True)],
        follow_ups=[FollowUp(step="compute", kind="ndvi.compute", params=params)],
        files=[file],
    )


@job_kind("ndvi.summary", pool="fast", params=SummaryParams)
def summarise(job: JobContext, params: SummaryParams) -> dict[str, Any]:
    """What a finished ndvi.compute found, in figures and one sentence."""
    computed = selectors.get_job(params.compute, owner=job.owner)
    if computed.kind != "ndvi.compute" or computed.state != State.SUCCEEDED or not computed.result:
        raise Permanent(f"params.compute: {params.compute} is no ndvi.compute that has a result.")
    return dict(summary_of(computed.result, farm_id=job.farm_id))
