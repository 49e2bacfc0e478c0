"""What a reconstruction writes down of a scene beside its Gaussians."""

from datetime import UTC, datetime

from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.engine.provenance import git_commit, versions
from scenewise.parts.splats.reconstruction import FinishedSplats, SceneTrainer
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera


def scene_of(
    options: ReconstructOptions, capture: Capture, trainer: SceneTrainer, finished: FinishedSplats, data_hash: str
) -> Scene:
    """The scene with where it comes from."""
    return Scene(
        load_gaussians=finished.gaussians.in_memory,
        num_gaussians=len(finished.gaussians),
        sh_degree=finished.gaussians.sh_degree,
        cameras=_scene_cameras(capture, trainer),
        provenance=Provenance(
            capture=str(options.capture.resolve()),
            source_format=capture.source_format,
            preset=capture.preset,
            data_hash=data_hash,
            method=options.method,
            config=dict(trainer.config) | {"total_steps": trainer.total_steps},
            versions=versions(),
            git_commit=git_commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        scale=capture.scale,
        up_in_world=capture.up_in_world,
        world_from_source=capture.world_from_source,
        georeference=capture.georeference,
        background=capture.background,
        licences={} if capture.preset is None and capture.licence is None else {capture.preset or "capture": capture.licence},
    )


def _scene_cameras(capture: Capture, trainer: SceneTrainer) -> tuple[SceneCamera, ...]:
    """The cameras of all photographs, those of the training views as refined."""
    refined: dict[str, Cameras] = {}
    if isinstance(trainer, SplatTrainer) and trainer.pose_refinement is not None:
        for index, (name, camera) in enumerate(zip(trainer.views.names, trainer.views.cameras)):
            refined[name] = trainer.pose_refinement.refined_camera(camera, index)
    return tuple(
        SceneCamera(frame.name, refined.get(frame.name, frame.camera), "test" if frame.name in capture.test_names else "train")
        for frame in capture.frames_with_image
    )
