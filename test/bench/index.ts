import { ingest } from "./index-ingest.js";

console.log(await ingest(Number(process.argv[2] ?? 1_000_000)));
