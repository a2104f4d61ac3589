import type { FastifyInstance } from "fastify";
import { afterEach } from "vitest";
import { stopPod, type TestPod } from "./agent-for-test.js";

/** Lists of agents and pods that end with the test which put them there. */
export function endedAfterEach(): { apps: FastifyInstance[]; pods: TestPod[] } {
  const apps: FastifyInstance[] = [];
  const pods: TestPod[] = [];
  afterEach(async () => {
    for (const app of apps.splice(0)) await app.close();
    for (const pod of pods.splice(0)) await stopPod(pod);
  });
  return { apps, pods };
}
