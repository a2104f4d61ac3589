// The header that names the pods of a request, best first.
import { podAddress, podAddressSize } from "../core/pods";
import { Text, text } from "./abi/memory";
import { MAP_REQUEST } from "./abi/types";
import { scratch, setHeader } from "./host";
import { Stream } from "./streams";

const DESTINATION = text("x-gateway-destination-endpoint");
/** Longest address and its comma. */
// @ts-ignore: decorator
@inline
const ADDRESS_BYTES: u32 = 65;

/** Writes the request's candidates anew, in the order that the record has them. */
export function writeCandidates(s: Stream): void {
  writePods(DESTINATION, s.candidates, s.candidate0, s.candidate1, s.candidate2);
}

/** Writes the addresses of one to three pods into a request header. */
export function writePods(header: Text, count: u32, first: u32, second: u32, third: u32): void {
  const p = scratch(3 * ADDRESS_BYTES);
  if (!p) return;
  let n: usize = 0;
  for (let i: u32 = 0; i < count; i++) {
    if (i) {
      store<u8>(p + n, 0x2c);
      n++;
    }
    const pod = i == 0 ? first : i == 1 ? second : third;
    const size = podAddressSize(pod);
    memory.copy(p + n, podAddress(pod), size);
    n += size;
  }
  setHeader(MAP_REQUEST, header, p, n);
}
