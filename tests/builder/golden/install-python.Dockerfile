# base
FROM nvidia/cuda@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
USER 0:0
# runtime
COPY --from=host:5000/nuwrap/runtime@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc /opt/nuwrap /opt/nuwrap
# places
RUN mkdir -p /work /cache /tmp && chmod 1777 /work /cache /tmp
ENV NUWRAP_WORK="/work" NUWRAP_CACHE="/cache" USER="nuwrap"
# python
RUN /opt/nuwrap/bin/uv python install --no-config --no-cache --no-bin --install-dir /opt/python 3.11 && ln -s /opt/python/cpython-3.11.* /opt/python/current
ENV PATH="/opt/python/current/bin:$PATH"
# bytecode
RUN ["/opt/nuwrap/bin/nuwrap-host", "compile"]
# instruction 1
RUN python3 --version
# code
WORKDIR /opt/function
COPY code /opt/function
# records
COPY records /opt/nuwrap-image
# image
ENV NUWRAP_LAUNCH="@/opt/nuwrap-image/launch.json"
LABEL dev.nuwrap.api="nuwrap/v1"
LABEL dev.nuwrap.content="sha256:a5b4d3168ee68f192f7c891b07251684bc94a94b22e756e8e7a465e414ed8082"
LABEL dev.nuwrap.features="compile,exec,fetch,install,job,serve"
LABEL dev.nuwrap.inputs="{\"base\":\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"runtime\":\"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\",\"python\":\"3.11, installed\",\"layout\":\"d8f25e9c2c76\",\"instruction 1\":\"3e70c5d2cf23\",\"code\":\"5c1ea12b30fe 1\",\"revision\":\"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\",\"function\":\"a953b6fb0b85\",\"file:fn.py\":\"dddddddddddd\"}"
LABEL dev.nuwrap.python="3.11"
LABEL dev.nuwrap.runtime="0.1.0"
LABEL dev.nuwrap.spec="sha256:af982f35445deb980b073889e5037d84f45af98c58b0b14ce28d94ae17249464"
LABEL org.opencontainers.image.base.digest="sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
LABEL org.opencontainers.image.base.name="nvidia/cuda:12.4-runtime"
LABEL org.opencontainers.image.revision="sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
LABEL org.opencontainers.image.title="fn"
USER 8877:999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/nuwrap/bin/nuwrap-host"]
CMD ["job"]
