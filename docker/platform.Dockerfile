# syntax=docker/dockerfile:1
# API and scheduler. Build it from the root of the repository: make images
#   docker build -f docker/platform.Dockerfile -t udair-platform:dev .
# The digest is that of a multi-platform index; a newer one: docker buildx imagetools inspect python:3.12-slim
ARG PYTHON_DIGEST=sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea
FROM docker.io/library/python:3.12-slim@${PYTHON_DIGEST} AS build
ARG EXTRAS=control,k8s,postgres,traces
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# What is installed into has no pip: nothing can be added to it later.
RUN python -m venv --without-pip /opt/udair
COPY . .
RUN pip --python /opt/udair/bin/python install --constraint constraints.txt ".[${EXTRAS}]"

FROM docker.io/library/python:3.12-slim@${PYTHON_DIGEST}
LABEL org.opencontainers.image.title="udair-platform" \
      org.opencontainers.image.description="UDAIR: control API and scheduler" \
      org.opencontainers.image.licenses="Apache-2.0"
# sh, find and sleep, which the probes use, are the base's.
RUN groupadd --gid 10001 udair \
    && useradd --uid 10001 --gid udair --no-create-home --home-dir /var/lib/udair --shell /usr/sbin/nologin udair \
    && install --directory --owner udair --group udair --mode 0700 /var/lib/udair
COPY --from=build /opt/udair /opt/udair
# The root file system may be read-only: whatever is written goes to HOME and /tmp.
ENV PATH=/opt/udair/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOME=/var/lib/udair UDAIR_HOME=/var/lib/udair
WORKDIR /var/lib/udair
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["python", "-m", "udair_platform.bootstrap"]
CMD ["api"]
