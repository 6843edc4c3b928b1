# The page, offline, on a CPU: docker build -t restore . && docker run --rm -p 7860:7860 restore
# The command line: docker run --rm -v "$PWD:/photos" restore restore denoise /photos -o /photos/restored
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY restore ./restore
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels

FROM python:3.12-slim
# Linked libraries of the decoders come inside their wheels: nothing from apt is needed.
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[web]" && rm -r /wheels \
    && useradd --create-home --uid 1000 restore
USER restore
WORKDIR /home/restore
ENV GRADIO_ANALYTICS_ENABLED=False PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=4)"]
CMD ["restore", "serve", "--host", "0.0.0.0", "--port", "7860"]
