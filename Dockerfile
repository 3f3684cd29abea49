# The HTTP API and the web demo on a GPU; see docs/containers.md.
#   docker build -t cutler_pl .
#   docker run --rm --gpus all -p 127.0.0.1:8080:8080 cutler_pl
#   docker run --rm --gpus all -p 127.0.0.1:7860:7860 cutler_pl demo checkpoint=tiny_generated host=0.0.0.0 port=7860
FROM python:3.12.8-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/cutler
ENV PATH=/opt/cutler/bin:$PATH
# torch's wheels bring the libraries of CUDA, the container toolkit of the host its driver; this layer stays in the cache
RUN pip install torch==2.14.1 torchvision==0.29.1
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY conf conf
COPY cutler_pl cutler_pl
RUN pip install 'cutler_pl[web,gpu] @ file:///source' && pip check

FROM python:3.12.8-slim-bookworm
LABEL org.opencontainers.image.title="cutler_pl" \
      org.opencontainers.image.source="https://github.com/OWNER/cutler_pl" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --no-create-home --home-dir /data --uid 10001 cutler \
    && install --directory --owner=cutler --group=cutler /data
COPY --from=build /opt/cutler /opt/cutler
# weights and compiled kernels are kept in /data, the one folder that the user may write
ENV PATH=/opt/cutler/bin:$PATH HF_HOME=/data/huggingface TORCH_HOME=/data/torch NUMBA_CACHE_DIR=/data/numba \
    CUPY_CACHE_DIR=/data/cupy MPLCONFIGDIR=/data/matplotlib PYTHONUNBUFFERED=1 GRADIO_ANALYTICS_ENABLED=False
USER 10001
WORKDIR /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["cutler"]
CMD ["serve", "checkpoint=tiny_generated", "host=0.0.0.0", "port=8080"]
