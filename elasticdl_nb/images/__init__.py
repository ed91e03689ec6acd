"""Docker images that contain a model zoo, its requirements and this framework. Requires `elasticdl_nb[docker]`.

image_for(spec, zoo)     the image of a job's pods: the one it names, its trained model's, or one built and pushed
build_image(zoo, …)      build an image from a zoo's folder
push_image(name)         push an image, and return its name with its digest
"""

from elasticdl_nb.images.building import build_image, push_image
from elasticdl_nb.images.choosing import image_for
from elasticdl_nb.images.progress import ImageStatus, listening

__all__ = ["ImageStatus", "build_image", "image_for", "listening", "push_image"]
