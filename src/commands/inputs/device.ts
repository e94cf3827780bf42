/** The device that a command computes on. */

import { loadAddon } from "../../native/binding.ts";
import { chooseDevice } from "../../native/cuda.ts";
import type { Device } from "../../native/session.ts";
import type { Console } from "../terminal/console.ts";

/**
 * What --device means here, told where there is something to tell. Throws "device-missing", and what
 * `loadAddon` throws.
 */
export function openDevice(
  { device: asked }: { readonly device?: string },
  console: Pick<Console, "warn">,
): Device | undefined {
  const { device, note } = chooseDevice(loadAddon(), asked);
  if (note !== undefined) console.warn(note);
  return device;
}
