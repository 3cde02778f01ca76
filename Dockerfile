# One image for each service; what differs is the binary.
#
#   docker build --build-arg SERVICE=dispatch -t tidegate/dispatch .
#
# SERVICE: ingestion, tagging, segmentation, dispatch, wecom_simulator, or tidegate (all services in
# one process, and the command line client). JOBS: compilers at once. The compiler's results are kept
# between builds by ccache. All images share every layer but the last.
#
# Run it with a read-only root and without capabilities; only these folders may need a volume:
#   /var/lib/tidegate    state of the embedded log (log.data_dir); nothing with Kafka. Anybody may
#                        write to it: a tmpfs mounted there takes its mode and belongs to root
#   /run/tidegate        corps file and secrets, each 0600 and owned by 65534
# There is no HEALTHCHECK here: the port depends on the settings, and Kubernetes looks elsewhere.
# `tidegate-ready [PORT [PATH]]` is the check for those who want one.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
# The packages first: they change more rarely than the sources. The list is in ./dev.
COPY dev ./
RUN ./dev setup
COPY . .
ARG JOBS=2
ARG REVISION=unknown
# The preset that the tests run with, less the tests.
RUN --mount=type=cache,target=/ccache \
    export CCACHE_DIR=/ccache JOBS="${JOBS}" && \
    cmake --preset dev -D TIDEGATE_TESTS=OFF -D TIDEGATE_COMMIT="${REVISION}" && \
    ./dev build dev && \
    deploy/image/collect build/dev/bin /out

FROM ${BASE} AS runtime
# The libraries that the binaries name, as found by ldd, and the authorities of WeCom's certificate.
# hadolint ignore=DL3008
RUN --mount=type=bind,from=build,source=/out,target=/out \
    apt-get update && \
    xargs -a /out/packages apt-get install -y --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    install -d -m 0700 -o 65534 -g 65534 /run/tidegate && \
    install -d -m 1777 -o 65534 -g 65534 /var/lib/tidegate

FROM runtime
ARG SERVICE=tidegate
COPY --from=build /out/${SERVICE}/ /
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tidegate-${SERVICE}" \
      org.opencontainers.image.description="Tidegate reaches the customers of WeCom within its limits: ${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65534:65534
EXPOSE 7600 7601 7602
# A link to the service's binary; in this form signals reach it.
ENTRYPOINT ["/usr/local/bin/service"]
