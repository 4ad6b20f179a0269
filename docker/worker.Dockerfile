# syntax=docker/dockerfile:1
# Serving and jobs, on Ray. Build it from the root of the repository: make images
#   docker build -f docker/worker.Dockerfile -t udair-worker:dev .                                    CPU
#   docker build -f docker/worker.Dockerfile -t udair-worker:dev-cu128 --build-arg TORCH_BUILD=cu128 .   CUDA
# torch brings CUDA's libraries; the driver is the node's (NVIDIA container toolkit), so the base is the same.
ARG PYTHON_DIGEST=sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea
ARG BASE=docker.io/library/python:3.12-slim
FROM ${BASE}@${PYTHON_DIGEST} AS build
ARG EXTRAS=jobs,serving,traces
ARG TORCH_BUILD=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv --without-pip /opt/udair
COPY constraints.txt .
# The version of the constraints in the wanted build. Its local version is only on torch's own index, so that nothing
# of the same name elsewhere can take its place.
RUN sed -E "s/^torch==([0-9.]+).*/torch==\1+${TORCH_BUILD}/" constraints.txt > /opt/constraints.txt \
    && grep -q "^torch==.*+${TORCH_BUILD}$" /opt/constraints.txt \
    && pip --python /opt/udair/bin/python install --constraint /opt/constraints.txt \
        --extra-index-url "${TORCH_INDEX}/${TORCH_BUILD}" torch
COPY . .
RUN pip --python /opt/udair/bin/python install --constraint /opt/constraints.txt \
        --extra-index-url "${TORCH_INDEX}/${TORCH_BUILD}" ".[${EXTRAS}]"

FROM ${BASE}@${PYTHON_DIGEST}
LABEL org.opencontainers.image.title="udair-worker" \
      org.opencontainers.image.description="UDAIR: serving and jobs on Ray" \
      org.opencontainers.image.licenses="Apache-2.0"
# KubeRay's probes are wget. Debian keeps one version at a time, so that a pinned one would soon not be found.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 udair \
    && useradd --uid 1000 --gid udair --no-create-home --home-dir /var/lib/udair --shell /bin/bash udair \
    && install --directory --owner udair --group udair --mode 0700 /var/lib/udair \
    # KubeRay starts Ray in a login shell, which forgets PATH.
    && echo "export PATH=/opt/udair/bin:\$PATH" > /etc/profile.d/udair.sh
COPY --from=build /opt/udair /opt/udair
# The root file system may be read-only. HOME is /tmp since jobs' pods may have nothing else to write to.
ENV PATH=/opt/udair/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOME=/tmp USER=udair UDAIR_HOME=/var/lib/udair MPLCONFIGDIR=/tmp/matplotlib \
    RAY_USAGE_STATS_ENABLED=0 NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /var/lib/udair
USER 1000:1000
EXPOSE 6379 8000 8080 8265
CMD ["ray", "start", "--head", "--block", "--disable-usage-stats"]
