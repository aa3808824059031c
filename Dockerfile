# icdbench with the pinned versions of constraints.txt (docs/howto/container.md).
#     docker build --tag icdbench:cpu .
#     docker build --tag icdbench:gpu --build-arg TORCH=cu128 .
FROM python:3.11-slim

# A build of PyTorch, as https://download.pytorch.org/whl names it: cpu, cu126, cu128 and others.
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/opt/icdbench/constraints.txt

WORKDIR /opt/icdbench
COPY constraints.txt ./
RUN pip install --extra-index-url "https://download.pytorch.org/whl/${TORCH}" \
    "torch==$(sed -n 's/^torch==//p' constraints.txt)+${TORCH}"

COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY benchmarks benchmarks
COPY icdbench icdbench
# PIP_CONSTRAINT pins the versions.
# hadolint ignore=DL3013
RUN pip install ".[plm]" && mkdir --mode 1777 /cache /work

# Any user may run it: docker run --user "$(id -u):$(id -g)". What is prepared of the data stays in /cache.
ENV ICDBENCH_CACHE=/cache HOME=/tmp
USER 65534
WORKDIR /work
ENTRYPOINT ["icdbench"]
CMD ["run"]
