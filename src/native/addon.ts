/** What the native addon exports; the only description of it on this side of the boundary. */

export interface Addon {
  /** Digest of the sources the addon was built from; `binding.ts` compares it. */
  readonly sourceHash: string;

  /** What this processor lets kernels use, up to SECATEUR_ISA. */
  cpuFeatures(): Record<string, boolean>;
}
