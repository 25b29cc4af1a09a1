# One image for the API, the workers and every other subcommand: `docker build -t brim-server .`
# It brings no Redis and no Postgres (the extra `embedded`): docker-compose.yml has them beside it.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/brim
WORKDIR /src
# What changes seldom comes first, so that a change of code builds anew from the wheel on.
COPY requirements.lock requirements-dev.lock ./
RUN sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^ /p;}' requirements-dev.lock > uv.lock \
    && pip install --quiet --no-cache-dir --require-hashes --no-deps -r uv.lock \
    && python3 -m venv --without-pip "$VIRTUAL_ENV" \
    && uv pip sync --quiet --require-hashes requirements.lock
COPY . .
# hatchling, too, comes by the hashes of the lock.
RUN uv build --quiet --wheel --require-hashes --build-constraints requirements-dev.lock --out-dir /wheel \
    && uv pip install --quiet --no-deps --no-index /wheel/*.whl

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/brim /opt/brim
ENV PATH=/opt/brim/bin:$PATH BRIM_HOST=0.0.0.0
# A new volume mounted there belongs to whom the folder belongs to.
RUN mkdir /var/lib/brim && chown 65534:65534 /var/lib/brim
# nobody, as a number, so that a cluster can tell that it is not root.
USER 65534:65534
WORKDIR /tmp
EXPOSE 3000
ENTRYPOINT ["brim-server"]
CMD ["--help"]
