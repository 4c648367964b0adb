# Builds callout and nothing else into a small image. It runs as an ordinary user and keeps its
# alerts in /var/lib/callout; mount your configuration at /etc/callout.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies first: they change seldom, so this layer is reused.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN mkdir -p src tests/it && echo 'fn main() {}' > src/main.rs && touch src/lib.rs tests/it/main.rs \
    && cargo build --release --locked && rm -rf src tests
COPY src src
COPY config config
RUN mkdir -p tests/it && touch tests/it/main.rs src/main.rs src/lib.rs && cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/callout --create-home --shell /usr/sbin/nologin callout
COPY --from=build /build/target/release/callout /usr/local/bin/callout
USER callout
WORKDIR /var/lib/callout
ENV CALLOUT_CONFIG=/etc/callout/callout.yaml \
    CALLOUT_STORE=sqlite:/var/lib/callout/callout.db \
    CALLOUT_LISTEN=0.0.0.0:9000
VOLUME /var/lib/callout
EXPOSE 9000
# The image has no curl; callout asks itself over HTTP, key and store included.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["callout", "list", "--limit", "1"]
ENTRYPOINT ["callout"]
CMD ["serve"]
