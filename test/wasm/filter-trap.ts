// The release filter with one more way to end and a name: a request with the header x-trap traps the VM, and each
// response says x-filter-build: trap. Only for tests of what remains of us when the module is gone or replaced.
import {
  proxy_on_request_headers as onRequestHeaders,
  proxy_on_response_headers as onResponseHeaders,
} from "../../wasm/filter/index";
import { enterArena, leaveArena, text } from "../../wasm/filter/abi/memory";
import { MAP_REQUEST, MAP_RESPONSE, OK } from "../../wasm/filter/abi/types";
import { getHeader, setHeader } from "../../wasm/filter/host";

export {
  abort,
  malloc,
  proxy_abi_version_0_2_1,
  proxy_on_configure,
  proxy_on_done,
  proxy_on_grpc_close,
  proxy_on_grpc_receive,
  proxy_on_request_body,
  proxy_on_request_trailers,
  proxy_on_response_body,
  proxy_on_tick,
  proxy_on_vm_start,
} from "../../wasm/filter/index";

const TRAP = text("x-trap");
const BUILD = text("x-filter-build");
const NAME = text("trap");

export function proxy_on_request_headers(id: u32, count: u32, endOfStream: u32): u32 {
  enterArena();
  const trap = getHeader(MAP_REQUEST, TRAP) == OK;
  leaveArena();
  if (trap) unreachable();
  return onRequestHeaders(id, count, endOfStream);
}

export function proxy_on_response_headers(id: u32, count: u32, endOfStream: u32): u32 {
  enterArena();
  setHeader(MAP_RESPONSE, BUILD, NAME.at, NAME.size);
  leaveArena();
  return onResponseHeaders(id, count, endOfStream);
}
