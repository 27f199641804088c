# base
FROM python@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
USER 0:0
# runtime
COPY --from=host:5000/nuwrap/runtime@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc /opt/nuwrap /opt/nuwrap
# places
RUN mkdir -p /work /cache /tmp && chmod 1777 /work /cache /tmp
ENV NUWRAP_WORK="/work" NUWRAP_CACHE="/cache" USER="nuwrap"
# bytecode
RUN ["/opt/nuwrap/bin/nuwrap-host", "compile"]
# code
WORKDIR /opt/function
COPY code /opt/function
# records
COPY records /opt/nuwrap-image
# image
ENV NUWRAP_LAUNCH="@/opt/nuwrap-image/launch.json"
LABEL dev.nuwrap.api="nuwrap/v1"
LABEL dev.nuwrap.content="sha256:a8f06d514fe5aacc38b5b7b6c0bc24719896f98b47063924f56b37bb9f7e048f"
LABEL dev.nuwrap.features="compile,exec,fetch,install,job,serve"
LABEL dev.nuwrap.inputs="{\"base\":\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"runtime\":\"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\",\"python\":\"3.11\",\"layout\":\"d8f25e9c2c76\",\"code\":\"5c1ea12b30fe 1\",\"revision\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"function\":\"a953b6fb0b85\",\"file:fn.py\":\"dddddddddddd\"}"
LABEL dev.nuwrap.python="3.11"
LABEL dev.nuwrap.runtime="0.1.0"
LABEL dev.nuwrap.spec="sha256:5c6e17d7991d30f13d6b7b6a3166274586657a215c5c56d3a61cfb68dff049ac"
LABEL org.opencontainers.image.base.digest="sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
LABEL org.opencontainers.image.base.name="python:3.11-slim"
LABEL org.opencontainers.image.revision="sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
LABEL org.opencontainers.image.title="fn"
USER 8877:999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
CMD ["job"]
