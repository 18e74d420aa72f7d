# One image for every role: `downloader up` runs the whole service, `downloader web` or `downloader stage NAME` a part.
FROM python:3.11-slim AS build
COPY requirements.lock /build/
RUN python -m venv /opt/downloader \
 && /opt/downloader/bin/pip install --no-cache-dir --require-hashes --no-deps -r /build/requirements.lock
COPY setup.cfg pyproject.toml README.md LICENSE THIRD_PARTY_NOTICES.md /build/
COPY downloader /build/downloader
COPY web /build/web
COPY stages /build/stages
ARG REVISION=unknown
ARG BUILD_TIME=unknown
RUN printf '{"revision": "%s", "buildTime": "%s"}\n' "$REVISION" "$BUILD_TIME" > /build/downloader/_build.json \
 && /opt/downloader/bin/pip install --no-cache-dir --no-deps --no-build-isolation /build \
 && /opt/downloader/bin/python -m compileall -q /opt/downloader/lib

FROM python:3.11-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 downloader \
 && useradd --uid 10001 --gid downloader --no-create-home --shell /usr/sbin/nologin downloader \
 && install --directory --owner=downloader --group=downloader /data
COPY --from=build /opt/downloader /opt/downloader
ENV PATH=/opt/downloader/bin:$PATH DATA_DIR=/data PYTHONUNBUFFERED=1
USER downloader
WORKDIR /data
VOLUME /data
EXPOSE 18093
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; from downloader.config import local_url; urllib.request.urlopen(local_url() + '/health', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["downloader", "up"]
