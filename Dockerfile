# The agent's image: docker build -t warmgate-agent:0.1.0 .
# glibc, not musl: zeromq's prebuilt binary is for it.
FROM node:20-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json asconfig.json ./
RUN npm ci --no-audit --no-fund
COPY scripts/build.mjs scripts/build.mjs
COPY wasm wasm
COPY agent agent
COPY sidecar sidecar
COPY simulate simulate
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:20-bookworm-slim
ENV NODE_ENV=production
WORKDIR /opt/warmgate
COPY --from=build /src/package.json package.json
COPY --from=build /src/node_modules node_modules
COPY --from=build /src/build/wire.wasm build/wire.wasm
COPY --from=build /src/build/prompt.wasm build/prompt.wasm
COPY --from=build /src/build/pick.wasm build/pick.wasm
COPY --from=build /src/agent/proto agent/proto
COPY --from=build /src/dist/agent dist/agent
COPY --from=build /src/dist/sidecar dist/sidecar
COPY --from=build /src/dist/simulate dist/simulate
USER node
EXPOSE 8080 8081
ENTRYPOINT ["node", "dist/agent/cli.js"]
CMD ["agent", "--config", "/etc/warmgate/warmgate.yaml"]
