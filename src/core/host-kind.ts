/** What models run on: our kernels, or ONNX Runtime without them. */
export const HOST_KINDS = ['native', 'stock'] as const;

export type HostKind = (typeof HOST_KINDS)[number];

/** How sentences name what ran a model, after "in". A kind that a file has from another version keeps its own name. */
export function engineText(engine: string): string {
  if (engine === 'native') return 'the native core';
  return engine === 'stock' ? 'stock ONNX Runtime' : engine;
}
