"""Building and pushing images, through the Docker engine's own API."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticdl_nb.images import secrets
from elasticdl_nb.images.context import files_of_zoo, requirements_of_zoo, write_context
from elasticdl_nb.images.framework import Framework, this_framework
from elasticdl_nb.images.names import host_of, split_name
from elasticdl_nb.images.progress import BuildLog, ImageProgress, ImageStatus, PushLog, listener
from elasticdl_nb.images.recipe import DEFAULT_BASE_IMAGE, Recipe
from elasticdl_nb.runtime.errors import ImageError, OptionError

if TYPE_CHECKING:
    from docker import APIClient

# An installation may be silent for a long time.
_TIMEOUT_SECONDS = 1800


def build_image(
    zoo: Path,
    name: str = "",
    base: str = "",
    *,
    repository: str = "elasticdl-zoo",
    framework: Framework | None = None,
    progress: ImageProgress | None = None,
) -> str:
    """Build an image with a folder's zoo at /model_zoo; return its name.

    Without a `name` it is called `REPOSITORY:ID`, so that different content gets a different name and the same content
    the same. `base` is the base image (default: python:3.11-slim), `framework` what to install of elasticdl_nb
    (default: all that pods need). Raises OptionError for a base that is not available or a zoo that cannot be included,
    and ImageError if the engine does not answer or a step fails.
    """
    tell = progress or listener()
    started = time.monotonic()
    files = files_of_zoo(zoo)
    requirements = requirements_of_zoo(files)
    framework = framework or this_framework()
    named = tuple(sorted(requirements))
    recipe = Recipe(base or DEFAULT_BASE_IMAGE, framework.installed_from, named, secrets.index_settings())
    log = BuildLog(recipe.steps())
    with _engine() as engine, tempfile.TemporaryFile() as context:
        write_context(context, recipe, files, requirements, framework.files())
        context.seek(0)
        events = engine.build(
            fileobj=context, custom_context=True, rm=True, forcerm=True, decode=True, use_config_proxy=True,
        )  # fmt: skip
        for event in events:
            if status := log.feed(event):
                tell(status)
        if log.error:
            raise _build_error(log, recipe.base)
        image = name or f"{repository}:{log.image_id.removeprefix('sha256:')[:12]}"
        engine.tag(log.image_id, *split_name(image))
    tell(ImageStatus("done", "built", image=image, seconds=time.monotonic() - started))
    return image


def push_image(name: str, progress: ImageProgress | None = None) -> str:
    """Push an image; return its name with its digest, by which every node pulls exactly this image: `NAME@sha256:…`.

    Raises ImageError if the engine or the registry refuses.
    """
    tell = progress or listener()
    started = time.monotonic()
    repository, tag = split_name(name)
    log = PushLog()
    with _engine() as engine:
        for event in engine.push(repository, tag=tag, stream=True, decode=True):
            if status := log.feed(event):
                tell(status)
    if log.error or not log.digest:
        raise _push_error(name, log.error)
    image = f"{repository}@{log.digest}"
    tell(ImageStatus("done", "pushed", image=image, seconds=time.monotonic() - started))
    return image


@contextmanager
def _engine() -> Iterator[APIClient]:
    """Yield a client of the Docker engine; exceptions from it in the block become ImageErrors."""
    try:
        import docker
        import requests
    except ModuleNotFoundError:
        raise ImageError(
            "building images requires the Docker SDK, which is not installed: pip install 'elasticdl_nb[docker]', or "
            "give a ready image with image_name"
        ) from None
    try:
        client = _connect(docker.from_env)
        try:
            yield client
        finally:
            client.close()
    except docker.errors.APIError as error:
        raise ImageError(f"the Docker engine refused: {secrets.scrub(error.explanation or str(error))}") from None
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise ImageError(_no_engine(str(error))) from None


def _connect(from_env: Callable[..., Any]) -> APIClient:
    from docker.context import ContextAPI

    settings: dict[str, Any] = {}
    if "DOCKER_HOST" not in os.environ and (context := ContextAPI.get_current_context()):
        # The engine chosen with `docker context use`, such as Docker Desktop's.
        settings["environment"] = {**os.environ, "DOCKER_HOST": context.Host}
    client: APIClient = from_env(timeout=_TIMEOUT_SECONDS, **settings).api
    return client


def _no_engine(said: str) -> str:
    if "Permission denied" in said:
        return "you may not use this machine's Docker engine, which usually requires membership in the group docker"
    where = f" at {os.environ['DOCKER_HOST']}" if os.environ.get("DOCKER_HOST") else ""
    if not any(word in said for word in ("refused", "No such file", "not known", "resolve")):
        where += f": {secrets.scrub(said)}"
    return f"no Docker engine answers{where}. Start Docker, set DOCKER_HOST, or give a ready image with image_name"


def _build_error(log: BuildLog, base: str) -> Exception:
    if log.step.instruction.startswith("FROM "):
        return OptionError("docker_base_image", f"{base} is not available: {log.error}")
    said = "\n".join(f"  {line}" for line in list(log.lines)[-15:])
    return ImageError(f"the image could not be built; the step {log.step.title!r} failed: {log.error}\n{said}".rstrip())


def _push_error(name: str, said: str) -> ImageError:
    host = host_of(name)
    if "does not exist locally" in said:
        return ImageError(f"there is no image {name} to push; build it with elasticdl zoo build")
    if any(word in said.lower() for word in ("denied", "unauthorized", "no basic auth", "authentication required")):
        return ImageError(f"{host} did not allow you to push {name}: {said}. Log in first: docker login {host}")
    if any(word in said for word in ("connection refused", "no such host", "timeout", "server gave HTTP response")):
        return ImageError(f"the registry {host} is unreachable, so {name} was not pushed: {said}")
    return ImageError(f"{name} was not pushed: {said or 'the registry returned no digest'}")
