import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/vllm/**", "node_modules/**"],
    testTimeout: 180_000,
    hookTimeout: 120_000,
    // Two cores: end-to-end files start Envoy and pods of their own.
    maxWorkers: 2,
  },
});
