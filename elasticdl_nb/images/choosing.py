"""Which image a job's pods run: a ready one, the trained model's, or one that is built for the job."""

from __future__ import annotations

from pathlib import Path

from elasticdl_nb.images.building import build_image, push_image
from elasticdl_nb.images.names import check_name, image_of
from elasticdl_nb.images.progress import ImageProgress
from elasticdl_nb.runtime.spec import JobSpec

_REPOSITORY_NAME = "elasticdl-zoo"


def image_for(spec: JobSpec, zoo: Path, progress: ImageProgress | None = None) -> str:
    """Return the image for a job's pods, with its digest if it was pushed.

    It is `image_name`, if given. An evaluation or prediction runs in the image that its model was trained in, unless
    docker_base_image or docker_image_repository request a new one. Otherwise an image is built from the folder `zoo`
    on top of docker_base_image, and pushed to docker_image_repository. Without a repository it stays in this machine's
    engine, which is enough for a cluster whose nodes use that engine. Raises OptionError and ImageError.
    """
    if spec.image_name:
        return check_name("image_name", image_of(spec.image_name))
    if spec.kind != "train" and not spec.docker_base_image and not spec.docker_image_repository:
        from elasticdl_nb.runtime.model.saving.trained import read_trained_model

        trained = image_of(read_trained_model(spec.trained_model)[0].docker_commit_id)
        if trained:
            return trained
    if not spec.docker_image_repository:
        return build_image(zoo, base=spec.docker_base_image, progress=progress)
    name = f"{spec.docker_image_repository.rstrip('/')}/{_REPOSITORY_NAME}"
    repository = check_name("docker_image_repository", name)
    return push_image(build_image(zoo, base=spec.docker_base_image, repository=repository, progress=progress), progress)
