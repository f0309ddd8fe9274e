/** What models run on: our kernels, or ONNX Runtime without them. */
export const HOST_KINDS = ['native', 'stock'] as const;

export type HostKind = (typeof HOST_KINDS)[number];
