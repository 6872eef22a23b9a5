# kproxy with all it starts at run time, and no compiler: docker build --tag kproxy .
FROM docker.io/library/python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/kproxy
COPY requirements-runtime.lock .
RUN pip --no-cache-dir --disable-pip-version-check --python /opt/kproxy/bin/python install \
    --require-hashes --only-binary :all: --requirement requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY backends backends
COPY conntrack conntrack
COPY kproxy kproxy
COPY share share
RUN pip --no-cache-dir --disable-pip-version-check --python /opt/kproxy/bin/python install --no-deps .

FROM docker.io/library/python:3.11-slim-bookworm
# Both variants of iptables are in this package; nftables and IPVS are programmed without a program.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends iptables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/kproxy /opt/kproxy
ENV PATH=/opt/kproxy/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# As root: Kubernetes gives capabilities to nobody else, and kube-proxy's DaemonSet does not name a user. The agent needs
# no more of root than NET_ADMIN and NET_RAW; render, plan, explain and check-config run as anyone (--user 65532).
ENTRYPOINT ["kproxy"]
CMD ["run"]
